//! Checks what `[exec]` allows.

use std::path::Path;

use gristmill_jobs::exec_policy::{is_variable, never_from_payload, on_path};
use gristmill_jobs::settings::ExecSettings;

use super::Findings;

impl Findings<'_> {
    /// Whether a program is there is not asked: the worker that runs it may be on another machine.
    pub(super) fn exec(&mut self, exec: &ExecSettings) {
        for program in &exec.programs {
            if program == "*" {
                let wrong = "`*` would allow every program; name each one by its path, such as `/usr/bin/python3`";
                self.push("exec.programs", wrong);
            } else if !program.contains('/') {
                let path = on_path(program).unwrap_or_else(|| Path::new("/usr/bin").join(program));
                let wrong = format!("`{program}` is not a path; write for example `{}`", path.display());
                self.push("exec.programs", wrong);
            }
        }
        let names = exec.inherit.iter().map(|name| ("exec.inherit", name));
        let names = names.chain(exec.env.keys().map(|name| ("exec.env", name)));
        for (key, name) in names.chain(exec.payload_env.iter().map(|name| ("exec.payload_env", name))) {
            if !is_variable(name) {
                self.push(key, format!("`{name}` is not the name of a variable; write one such as `REGION`"));
            } else if key == "exec.payload_env" && never_from_payload(name) {
                let wrong = format!(
                    "`{name}` could change which program runs, and is never taken from a job; set it for all programs \
                     in `exec.env`"
                );
                self.push(key, wrong);
            }
        }
    }
}
