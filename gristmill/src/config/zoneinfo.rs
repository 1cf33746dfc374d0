//! Where the rules of time zones are: in a folder that the configuration names, or in the machine's own where that is
//! newer than what is built in.

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_core::schedule::{Zone, ZoneSource, tzdb, tzdb_built_in, use_zones};

/// What the configuration says for the rules that are built in.
pub(super) const BUILT_IN: &str = "built-in";

/// Where machines keep the rules of time zones. `TZDIR` names another folder, as for the C library.
const SYSTEM: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// A zone that every folder has.
const PROBE: &str = "Etc/UTC";

/// The largest file of a zone: real ones have a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Uses the rules of the folder that was named; without one, those of the machine if they are newer.
///
/// # Errors
///
/// When the folder that was named is none of time zones, or another one is in use in this process.
pub(super) fn install(named: Option<&str>) -> Result<(), String> {
    let source = match named {
        Some(BUILT_IN) => None,
        Some(folder) => Some(read(Path::new(folder)).ok_or_else(|| {
            format!(
                "`{folder}` has no time zones: there is no `{folder}/{PROBE}` that can be read; name a folder such as {}, or \"{BUILT_IN}\"",
                SYSTEM[0]
            )
        })?),
        None => system().filter(|source| is_newer(&source.edition, tzdb_built_in())),
    };
    let Some(source) = source else { return Ok(()) };
    let place = source.place.clone();
    if use_zones(source) || tzdb().1 == Some(&place) || named.is_none() {
        return Ok(());
    }
    Err(format!("this process reads its time zones from {} already", tzdb().1.unwrap_or(BUILT_IN)))
}

fn system() -> Option<ZoneSource> {
    let said = std::env::var_os("TZDIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    said.into_iter().chain(SYSTEM.map(PathBuf::from)).find_map(|folder| read(&folder))
}

/// The rules in a folder, if it has any.
fn read(folder: &Path) -> Option<ZoneSource> {
    let folder = folder.to_owned();
    Zone::read("UTC", &file(&folder, PROBE)?)?;
    let (edition, place) = (edition(&folder), folder.display().to_string());
    Some(ZoneSource { edition, place, read: Box::new(move |name| file(&folder, name)) })
}

fn file(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let path = folder.join(name);
    let about = fs::metadata(&path).ok()?;
    (about.is_file() && about.len() <= FILE_BYTES_MAX).then(|| fs::read(path).ok()).flatten()
}

/// The edition as a folder says it: in the first line of `tzdata.zi`, `# version 2026f`, or in a file of its own.
fn edition(folder: &Path) -> String {
    let first = |name: &str| {
        let bytes = file(folder, name)?;
        let line = bytes.split(|byte| *byte == b'\n').next()?;
        let text = std::str::from_utf8(line).ok()?.trim();
        let edition = text.strip_prefix("# version").unwrap_or(text).trim();
        is_edition(edition).then(|| edition.to_owned())
    };
    ["tzdata.zi", "+VERSION", "version"].into_iter().find_map(first).unwrap_or_else(|| "unknown".to_owned())
}

/// `2026f`, or `2026f-rev2` as some distributions write.
fn is_edition(text: &str) -> bool {
    let year = text.get(..4).is_some_and(|year| year.bytes().all(|byte| byte.is_ascii_digit()));
    let letter = text.as_bytes().get(4).is_some_and(u8::is_ascii_lowercase);
    year && letter && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether an edition is after another one: a year, and a letter within it.
fn is_newer(edition: &str, other: &str) -> bool {
    is_edition(edition) && edition.get(..5) > other.get(..5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editions_are_compared_by_year_and_letter() {
        for (edition, other, newer) in [
            ("2026f", "2026f", false),
            ("2026g", "2026f", true),
            ("2025z", "2026a", false),
            ("2027a", "2026f", true),
            ("unknown", "2026f", false),
        ] {
            assert_eq!(is_newer(edition, other), newer, "{edition} {other}");
        }
    }

    #[test]
    fn a_folder_says_its_edition_and_a_folder_without_zones_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(edition(folder.path()), "unknown");
        fs::write(folder.path().join("+VERSION"), "2026b\n").expect("written");
        assert_eq!(edition(folder.path()), "2026b");
        fs::write(folder.path().join("tzdata.zi"), "# version 2026c\n# more\n").expect("written");
        assert_eq!(edition(folder.path()), "2026c");
        let named = folder.path().display().to_string();
        assert!(install(Some(&named)).expect_err("no zones").contains("has no time zones"));
        fs::create_dir(folder.path().join("Etc")).expect("made");
        fs::write(folder.path().join("Etc/UTC"), "TZif?").expect("written");
        assert!(read(folder.path()).is_none(), "a file that is no zone");
        assert_eq!(install(Some(BUILT_IN)), Ok(()));
    }
}
