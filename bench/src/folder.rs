//! A folder that is removed when it is no longer needed.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::fault::Result;

/// See the module's documentation.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one with a name of its own.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn within(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("gristmill-bench.{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
