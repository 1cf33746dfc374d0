//! Which programs may run here, in which folder and with which variables: what `[exec]` says, resolved once.
//!
//! A client that may enqueue chooses what is run. It chooses among the programs that the worker's own configuration
//! names by their paths, and nothing that it sends can make another file of one of them: neither a search path, nor a
//! folder, nor a variable that a loader, a shell or an interpreter reads.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf, absolute};

use crate::settings::ExecSettings;

/// The beginnings of variables that change what a program does before it does anything: those of loaders, shells,
/// interpreters and libraries, and our own.
const NEVER_BEGINNINGS: [&str; 29] = [
    "LD_",
    "DYLD_",
    "BASH",
    "PYTHON",
    "PERL",
    "RUBY",
    "GEM_",
    "BUNDLE_",
    "NODE_",
    "NPM_",
    "DENO_",
    "BUN_",
    "JAVA_",
    "JDK_",
    "_JAVA_",
    "DOTNET_",
    "CORECLR_",
    "COMPLUS_",
    "PHP",
    "LUA_",
    "R_",
    "ERL_",
    "ELIXIR_",
    "GIT_",
    "SSH_",
    "PG",
    "OPENSSL_",
    "XDG_",
    "GRISTMILL_",
];

/// Further ones by their whole names.
const NEVER: [&str; 47] = [
    "PATH",
    "ENV",
    "IFS",
    "PS4",
    "SHELL",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "CDPATH",
    "FPATH",
    "ZDOTDIR",
    "FIGNORE",
    "GLOBIGNORE",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "BROWSER",
    "LESSOPEN",
    "LESSCLOSE",
    "MANPAGER",
    "CLASSPATH",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_TRACE",
    "RES_OPTIONS",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RESOLV_HOST_CONF",
    "GETCONF_DIR",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMCAP",
    "TZDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSLKEYLOGFILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Whether no payload may set this variable, whatever the configuration says. The comparison ignores case: some
/// programs read `http_proxy`, others `HTTP_PROXY`.
pub fn never_from_payload(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    NEVER.contains(&upper.as_str()) || NEVER_BEGINNINGS.iter().any(|beginning| upper.starts_with(beginning))
}

/// Whether this is the name of a variable: letters, digits and `_`, not beginning with a digit.
pub fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where a program of this name is on the search path of this process.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// What `[exec]` allows.
#[derive(Debug, Clone)]
pub struct ExecPolicy {
    programs: Vec<PathBuf>,
    dir: PathBuf,
    env: BTreeMap<OsString, OsString>,
    payload_env: Vec<String>,
}

/// A program that may be started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// What it is called in messages: the first word of the command.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) dir: PathBuf,
}

impl Default for ExecPolicy {
    fn default() -> Self {
        Self::new(&ExecSettings::default())
    }
}

impl ExecPolicy {
    /// Resolves the settings: paths become absolute, and the variables that are inherited are read now.
    pub fn new(settings: &ExecSettings) -> Self {
        Self::with(settings, |name| std::env::var_os(name))
    }

    /// The same with another environment than that of this process.
    fn with(settings: &ExecSettings, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let inherited = settings.inherit.iter().filter_map(|name| Some((name.into(), variable(name)?)));
        let set = settings.env.iter().map(|(name, value)| (name.into(), value.into()));
        let dir = Path::new(settings.dir.as_deref().unwrap_or("."));
        Self {
            programs: settings.programs.iter().filter(|program| program.contains('/')).map(made_absolute).collect(),
            dir: made_absolute(dir),
            env: inherited.chain(set).collect(),
            payload_env: settings.payload_env.clone(),
        }
    }

    /// The programs that may run.
    pub fn programs(&self) -> &[PathBuf] {
        &self.programs
    }

    /// Whether a command may run: its program by its path, or by its file name if that is the name of exactly one
    /// allowed program.
    ///
    /// # Errors
    ///
    /// When it is empty or not allowed: a text that says what to write in the configuration.
    pub fn program(&self, command: &[String]) -> Result<PathBuf, String> {
        let name =
            command.first().ok_or("`command` is empty; write for example [\"/usr/bin/python3\", \"work.py\"]")?;
        let fits = |program: &&PathBuf| match name.contains('/') {
            true => **program == made_absolute(self.dir.join(name)),
            false => program.file_name() == Some(OsStr::new(name)),
        };
        let fitting: Vec<&PathBuf> = self.programs.iter().filter(fits).collect();
        match fitting.as_slice() {
            [program] => Ok((*program).clone()),
            [] => Err(self.not_allowed(name)),
            [first, ..] => Err(format!(
                "`exec.programs` names several programs `{name}`; give one by its path, such as `{}`",
                first.display()
            )),
        }
    }

    fn not_allowed(&self, name: &str) -> String {
        let path = match name.contains('/') {
            true => made_absolute(self.dir.join(name)),
            false => on_path(name).unwrap_or_else(|| Path::new("/path/to").join(name)),
        };
        let known: Vec<String> = self.programs.iter().map(|program| format!("`{}`", program.display())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!(
            "the program `{name}` is not allowed here; a worker runs only programs that its configuration names by \
             their paths: write `[exec]` and below it `programs = [\"{}\"]`, and start the worker again (allowed now: \
             {known})",
            path.display()
        )
    }

    /// What to start for a command. `env` is what its client sets, `dir` the folder of a batch's definition.
    ///
    /// # Errors
    ///
    /// When the program or a variable is not allowed: a text that says what to write in the configuration.
    pub(crate) fn launch(
        &self,
        command: &[String],
        env: &BTreeMap<String, String>,
        dir: Option<&str>,
    ) -> Result<Launch, String> {
        let program = self.program(command)?;
        let mut all = self.env.clone();
        for (name, value) in env {
            self.may_set(name)?;
            if value.contains('\0') {
                return Err(format!("the variable `{name}` has a NUL in it"));
            }
            all.insert(name.into(), value.into());
        }
        let dir = dir.map_or_else(|| self.dir.clone(), |dir| self.dir.join(dir));
        let (name, arguments) = command.split_first().ok_or("`command` is empty")?;
        Ok(Launch { name: name.clone(), program, arguments: arguments.to_vec(), env: all, dir })
    }

    fn may_set(&self, name: &str) -> Result<(), String> {
        if never_from_payload(name) || !is_variable(name) {
            return Err(format!(
                "the variable `{name}` cannot be set by a job or a batch: it could change which program runs; an \
                 operator may set it for all programs, in `[exec] env` of the worker's configuration"
            ));
        }
        if self.payload_env.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(format!(
            "the variable `{name}` may not be set here; name it in the worker's configuration: write `[exec]` and \
             below it `payload_env = [\"{name}\"]`"
        ))
    }
}

/// Absolute without following links, so that a link that an operator names stays the name of the program.
fn made_absolute(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(programs: &[&str]) -> ExecSettings {
        ExecSettings {
            programs: programs.iter().map(|program| (*program).to_owned()).collect(),
            dir: Some("/srv/app".to_owned()),
            env: [("REGION".to_owned(), "north".to_owned())].into(),
            payload_env: vec!["SHOP".to_owned()],
            ..ExecSettings::default()
        }
    }

    fn policy(programs: &[&str]) -> ExecPolicy {
        let environment =
            [("PATH", "/usr/bin"), ("GRISTMILL_STORE_URL", "postgres://u:secret@h/d"), ("SMTP", "secret")];
        ExecPolicy::with(&settings(programs), |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_program_is_allowed_by_its_path_and_none_is_by_default() {
        let policy = policy(&["/usr/bin/python3", "bin/settle"]);
        let here = absolute("bin/settle").expect("a folder");
        for (word, program) in [
            ("/usr/bin/python3", Some(PathBuf::from("/usr/bin/python3"))),
            ("/usr/bin/./python3", Some(PathBuf::from("/usr/bin/python3"))),
            ("python3", Some(PathBuf::from("/usr/bin/python3"))),
            ("settle", Some(here)),
            ("./python3", None),
            ("/tmp/python3", None),
            ("python", None),
            ("sh", None),
            ("", None),
        ] {
            assert_eq!(policy.program(&command(&[word])).ok(), program, "{word}");
        }
        let error = ExecPolicy::new(&ExecSettings::default()).program(&command(&["sh"])).expect_err("none is allowed");
        assert!(error.contains("`[exec]`") && error.contains("programs = [\"/") && error.contains("/sh\"]"), "{error}");
    }

    #[test]
    fn two_programs_of_one_name_are_chosen_by_their_paths() {
        let policy = policy(&["/usr/bin/tool", "/opt/tool"]);
        assert!(policy.program(&command(&["tool"])).expect_err("either").contains("`/usr/bin/tool`"));
        assert_eq!(policy.program(&command(&["/opt/tool"])), Ok(PathBuf::from("/opt/tool")));
    }

    #[test]
    fn only_what_is_named_is_inherited_and_only_what_is_named_may_be_set() {
        let policy = policy(&["/bin/true"]);
        let set = |name: &str| policy.launch(&command(&["true"]), &[(name.to_owned(), "x".to_owned())].into(), None);
        let launch = set("SHOP").expect("it is in the list");
        let names: Vec<_> = launch.env.keys().map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["PATH", "REGION", "SHOP"]);
        assert_eq!(launch.dir, Path::new("/srv/app"));
        assert!(set("COLOUR").expect_err("not in the list").contains("payload_env = [\"COLOUR\"]"));
    }

    #[test]
    fn what_loaders_shells_and_interpreters_read_is_never_set_by_a_client() {
        let names = [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PATH",
            "BASH_ENV",
            "BASH_FUNC_ls%%",
            "ENV",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5OPT",
            "RUBYOPT",
            "NODE_OPTIONS",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "GIT_SSH_COMMAND",
            "IFS",
            "HOME",
            "http_proxy",
            "SSL_CERT_FILE",
            "PGHOST",
            "GRISTMILL_JOB_ID",
            "",
            "A=B",
            "1A",
            "A\0B",
            "ld_preload",
        ];
        let open = ExecSettings {
            payload_env: names.iter().map(|name| (*name).to_owned()).collect(),
            ..settings(&["/bin/true"])
        };
        let policy = ExecPolicy::with(&open, |_| None);
        for name in names {
            let env = [(name.to_owned(), "x".to_owned())].into();
            let error = policy.launch(&command(&["true"]), &env, None).expect_err(name);
            assert!(error.contains("cannot be set by a job"), "{name}: {error}");
        }
    }
}
