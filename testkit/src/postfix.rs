//! Postfix as a peer: its sink, which misbehaves as its flags say, and a whole server of one test, which delivers into
//! folders and sends real reports of what it cannot deliver.
//!
//! `scripts/mail` provides the programs. Where there are none, a test says so and does not run: see [`Programs::find`].

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A user that Postfix runs its parts as, and its group: each system has them.
const USER: (&str, u32) = ("daemon", 1);

/// The programs of Postfix.
#[derive(Debug, Clone)]
pub struct Programs {
    root: PathBuf,
}

/// A variable that `scripts/mail env` sets; `None` when it says that there is none of it: then the test is noted as one that
/// did not run.
///
/// # Panics
///
/// When it is not set at all: nothing is skipped in silence.
pub fn provided(name: &str) -> Option<String> {
    let value = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(scripts/mail env)\""));
    if value != "none" {
        return Some(value);
    }
    not_run(&format!("{name} is none"));
    None
}

fn not_run(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("NOT RUN: {test}: {why}");
    if let Ok(path) = std::env::var("GRISTMILL_TEST_MAIL_NOT_RUN") {
        let file = File::options().create(true).append(true).open(&path);
        writeln!(file.unwrap_or_else(|error| panic!("{path}: {error}")), "{test}: {why}").expect("noted");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its own").port()
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Waits for a condition that another program brings about, and says in no other way.
#[expect(clippy::disallowed_methods, reason = "another program gives no event")]
fn wait_until(mut done: impl FnMut() -> bool, what: impl FnOnce() -> String) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() >= until {
            panic!("{}: not within {PATIENCE:?}", what());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Programs {
    /// The programs that `scripts/mail` has found. `None` where there are none, which is noted.
    ///
    /// # Panics
    ///
    /// When nothing says whether there are any.
    pub fn find() -> Option<Self> {
        provided("GRISTMILL_TEST_POSTFIX").map(|root| Self { root: PathBuf::from(root) })
    }

    fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/postfix")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.root.join(program));
        command.env("LD_LIBRARY_PATH", self.libraries()).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts the sink with these flags, such as `-p` for no pipelining or `-r RCPT` for a refusal of all recipients.
    ///
    /// # Panics
    ///
    /// When it does not listen within its time.
    pub fn sink(&self, flags: &[&str]) -> Sink {
        let port = free_port();
        let mut command = self.command("usr/sbin/smtp-sink");
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let address = format!("127.0.0.1:{port}");
        let child = command.args(flags).args([address.as_str(), "100"]).stderr(Stdio::null()).spawn();
        let sink = Sink { port, child: child.expect("smtp-sink starts") };
        wait_until(|| listens(port), || "smtp-sink listens".to_owned());
        sink
    }

    /// Starts a server that knows the mailboxes `ada`, `bounce` and, too small for anything, `full` of `here.example`.
    /// `None` where Postfix cannot be started, which only root may; that is noted.
    ///
    /// # Panics
    ///
    /// When it does not listen within its time.
    pub fn server(&self, folder: &Path) -> Option<Postfix> {
        if !is_root() {
            not_run("Postfix is started by root alone");
            return None;
        }
        let port = free_port();
        self.prepare(folder, port);
        let mut command = self.command("usr/lib/postfix/sbin/master");
        let config = folder.join("config");
        command.arg("-c").arg(&config).arg("-d").env("MAIL_CONFIG", &config).stderr(Stdio::null());
        let child = command.spawn().expect("Postfix starts");
        let server = Postfix { port, folder: folder.to_owned(), child };
        wait_until(|| listens(port), || "Postfix listens".to_owned());
        Some(server)
    }

    /// Writes its configuration, and makes its folders for its own users.
    fn prepare(&self, folder: &Path, port: u16) {
        let place = |name: &str| folder.join(name);
        let queue = place("queue");
        for name in ["config", "data", "mail", "queue"] {
            fs::create_dir_all(place(name)).expect("a folder");
        }
        for name in
            ["pid", "private", "public", "maildrop", "active", "bounce", "corrupt", "defer", "deferred", "flush"]
                .into_iter()
                .chain(["hold", "incoming", "saved", "trace"])
        {
            fs::create_dir_all(queue.join(name)).expect("a folder");
            if name != "pid" {
                owned(&queue.join(name));
            }
        }
        owned(&place("data"));
        owned(&place("mail"));
        reachable(folder);
        fs::write(place("config/main.cf"), self.main(folder)).expect("written");
        fs::write(place("config/master.cf"), MASTER.replace("PORT", &port.to_string())).expect("written");
    }

    fn main(&self, folder: &Path) -> String {
        let (root, libraries, folder) = (self.root.display(), self.libraries(), folder.display());
        let (libraries, (user, id)) = (libraries.display(), USER);
        format!(
            "compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/data\n\
             command_directory = {root}/usr/sbin\ndaemon_directory = {libraries}/sbin\nshlib_directory = {libraries}\n\
             mail_owner = {user}\nsetgid_group = games\ndefault_privs = nobody\n\
             import_environment = LD_LIBRARY_PATH={libraries} MAIL_CONFIG={folder}/config\n\
             maillog_file = {folder}/data/log\nmaillog_file_prefixes = /\ninet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\nmyhostname = peer.example\nmydestination = peer.example\nmynetworks = 127.0.0.0/8\n\
             alias_maps =\nalias_database =\nlocal_recipient_maps =\nrecipient_delimiter = +\n\
             virtual_mailbox_domains = here.example\nvirtual_mailbox_base = {folder}/mail\n\
             virtual_mailbox_maps = inline:{{{{ada@here.example=ada/}},{{bounce@here.example=bounce/}}}}\n\
             virtual_minimum_uid = 1\nvirtual_uid_maps = static:{id}\nvirtual_gid_maps = static:{id}\n\
             default_transport = error:5.4.4 there is no way out of a test\nsmtpd_reject_unlisted_recipient = no\n\
             smtpd_relay_restrictions = permit_mynetworks, reject\n"
        )
    }
}

/// Only what a test needs: no part of it connects to another machine.
const MASTER: &str = "\
127.0.0.1:PORT inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
";

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

fn owned(path: &Path) {
    std::os::unix::fs::chown(path, Some(USER.1), Some(USER.1)).expect("given to its user");
}

/// Lets other users pass through a folder, which the test alone may enter otherwise.
fn reachable(folder: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder, mode).expect("opened");
}

/// Postfix's `smtp-sink`, until it is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    child: Child,
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole Postfix, until it is dropped.
#[derive(Debug)]
pub struct Postfix {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    child: Child,
}

impl Postfix {
    /// The Maildir of a mailbox.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.folder.join("mail").join(user)
    }

    /// Waits until a mailbox has so many messages, and returns them.
    ///
    /// # Panics
    ///
    /// When it does not get them within its time.
    pub fn delivered(&self, user: &str, many: usize) -> Vec<Vec<u8>> {
        let new = self.maildir(user).join("new");
        let files = || -> Vec<PathBuf> {
            let read = fs::read_dir(&new).into_iter().flatten();
            read.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
        };
        let log = || fs::read_to_string(self.folder.join("data/log")).unwrap_or_default();
        let said = || format!("{user} has {} of {many} messages: {}", files().len(), log());
        wait_until(|| files().len() >= many, said);
        files().iter().map(|path| fs::read(path).expect("read")).collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Its parts end with it when it is asked to.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
