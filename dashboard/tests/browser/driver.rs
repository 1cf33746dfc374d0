//! A browser: a session of ChromeDriver, with what the tests ask of it.

use std::env::var;
use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use thirtyfour::common::command::{Command, ExtensionCommand};
use thirtyfour::{
    By, CapabilitiesHelper, ChromiumLikeCapabilities, Cookie, DesiredCapabilities, Key, WebDriver, WebElement,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Nothing that a page does takes so long, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many browsers work at once: each of them is several processes.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Whether the browser runs scripts of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scripts {
    On,
    Off,
}

/// A browser with one window, of its own profile. It ends when it is dropped.
pub(crate) struct Browser {
    driver: WebDriver,
    origin: String,
    _turn: SemaphorePermit<'static>,
}

/// Notes that the test did not run, for the end of the whole run, or fails where it must run.
///
/// # Panics
///
/// Where a browser is required.
pub(crate) fn not_run(what: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(var("GRISTMILL_REQUIRE_BROWSER").as_deref() != Ok("1"), "{name} needs {what}, which is required here");
    // Not by `eprintln!`: the harness would keep that to itself.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {name}: there is no {what}");
    if let Ok(path) = var("GRISTMILL_TEST_NOT_RUN") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        writeln!(file.unwrap_or_else(|error| panic!("{path}: {error}")), "{name}").expect("noted");
    }
}

/// A variable that `scripts/browser env` sets; `None` when it says that there is none of it.
///
/// # Panics
///
/// When it is not set at all: nothing is skipped in silence.
pub(crate) fn provided(name: &str) -> Option<String> {
    let value = var(name).unwrap_or_else(|_| panic!("{name} is not set: eval \"$(scripts/browser env)\""));
    (value != "none").then_some(value)
}

impl Browser {
    /// Starts a browser for the server at an address. `None` where there is none.
    pub(crate) async fn start(addr: SocketAddr, scripts: Scripts) -> Option<Self> {
        let Some(url) = provided("GRISTMILL_TEST_WEBDRIVER") else {
            not_run("browser");
            return None;
        };
        // The client of the driver would have TLS, and asks which one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let turn = TURNS.acquire().await.expect("never closed");
        let driver = WebDriver::new(url, capabilities(scripts)).await.expect("the driver starts a browser");
        let origin = format!("http://{addr}");
        let browser = Self { driver, origin, _turn: turn };
        browser.size(1280, 900).await;
        Some(browser)
    }

    /// Says with each request who asks: the session that the server takes for what it says.
    pub(crate) async fn become_role(&self, role: &str) {
        self.open("/login").await;
        self.driver.add_cookie(Cookie::new("gristmill", role)).await.expect("a cookie");
    }

    /// Goes to a page, and waits until it is there.
    pub(crate) async fn open(&self, path: &str) {
        let address = format!("{}{path}", self.origin);
        self.driver.goto(address).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Where it is: path and query.
    pub(crate) async fn place(&self) -> String {
        let url = self.driver.current_url().await.expect("an address");
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Waits until it is there: a click does not wait for the page that it leads to.
    pub(crate) async fn is_at(&self, place: &str) {
        until(&format!("the way leads to {place}"), async || Some(self.place().await).filter(|at| at == place)).await;
    }

    /// The first element that a selector finds, waiting for it.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        until(css, async || self.driver.find(By::Css(css)).await.ok()).await
    }

    /// How many elements a selector finds just now.
    pub(crate) async fn count(&self, css: &str) -> usize {
        self.driver.find_all(By::Css(css)).await.expect("asked").len()
    }

    /// Clicks, as a mouse does: on what can be seen and is not covered.
    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Types into a field in place of what is there.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap_or_else(|error| panic!("{css}: {error}"));
        field.send_keys(text).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        self.driver.action_chain().send_keys(keys).perform().await.expect("pressed");
    }

    pub(crate) async fn press_key(&self, key: Key) {
        self.driver.action_chain().send_keys(key).perform().await.expect("pressed");
    }

    /// The text of an element, as it is seen.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("a text")
    }

    /// Waits until the text of an element is this and no other.
    pub(crate) async fn reads(&self, css: &str, words: &str) {
        let text = async || self.driver.find(By::Css(css)).await.ok()?.text().await.ok();
        until(&format!("{css} is `{words}`"), async || text().await.filter(|text| text == words)).await;
    }

    /// Waits until an element says something, among other things.
    ///
    /// # Panics
    ///
    /// For a number alone: it is a part of other numbers, and of dates.
    pub(crate) async fn says(&self, css: &str, words: &str) {
        assert!(words.contains(char::is_alphabetic) || words.contains('.'), "`{words}` is found anywhere: see `reads`");
        let text = async || self.driver.find(By::Css(css)).await.ok()?.text().await.ok();
        until(&format!("{css} says `{words}`"), async || text().await.filter(|text| text.contains(words))).await;
    }

    /// Waits until a function of ours in the page, `return …`, gives what is true.
    pub(crate) async fn holds(&self, script: &str) {
        let asked = async || self.driver.execute(script, Vec::<Value>::new()).await.ok()?.json().as_bool();
        until(script, async || asked().await.filter(|holds| *holds)).await;
    }

    /// What a function of ours in the page gives. It runs even where pages run no scripts.
    pub(crate) async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let given = self.driver.execute(script, arguments.to_vec()).await;
        given.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// What a function of ours gives to the one that it gets as its last argument.
    pub(crate) async fn run_until_done(&self, script: &str, arguments: &[Value]) -> Value {
        let given = self.driver.execute_async(script, arguments.to_vec()).await;
        given.unwrap_or_else(|error| panic!("{error}")).json().clone()
    }

    /// A command of the protocol of Chromium's own tools.
    pub(crate) async fn tool(&self, command: &str, parameters: Value) -> Value {
        self.ask("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// How large the window is inside, in pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tool("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Which theme the system prefers, `light` or `dark`, and for which medium: `print`, or nothing for the screen.
    pub(crate) async fn medium(&self, theme: &str, medium: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.tool("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features })).await;
    }

    /// What the browser has complained about since it was last asked: what it refused, what it did not find, errors of scripts.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let said = self.ask("/se/log", json!({ "type": "browser" })).await;
        let entries = said.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        let complains = |entry: &&Value| entry["level"] == "SEVERE" || entry["level"] == "WARNING";
        entries.filter(complains).map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// The window as a picture, for a person.
    pub(crate) fn driver(&self) -> &WebDriver {
        &self.driver
    }

    async fn ask(&self, endpoint: &'static str, body: Value) -> Value {
        let command = Command::ExtensionCommand(Box::new(Extension { endpoint, body }));
        let answer = self.driver.handle.cmd(command).await.unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        answer.value_json().expect("a value")
    }
}

/// What ChromeDriver knows beyond the standard.
#[derive(Debug)]
struct Extension {
    endpoint: &'static str,
    body: Value,
}

impl ExtensionCommand for Extension {
    fn parameters_json(&self) -> Option<Value> {
        Some(self.body.clone())
    }

    fn method(&self) -> Method {
        Method::POST
    }

    fn endpoint(&self) -> Arc<str> {
        self.endpoint.into()
    }
}

fn capabilities(scripts: Scripts) -> thirtyfour::ChromeCapabilities {
    let mut wanted = DesiredCapabilities::chrome();
    // It sees our own pages alone, and in a container or as root its sandbox would not start.
    for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en"] {
        wanted.add_arg(argument).expect("an argument");
    }
    if scripts == Scripts::Off {
        let never = json!({ "profile.managed_default_content_settings.javascript": 2 });
        wanted.add_experimental_option("prefs", never).expect("an option");
    }
    wanted.set_base_capability("goog:loggingPrefs", json!({ "browser": "ALL" })).expect("a capability");
    wanted
}

/// Waits until something is there.
///
/// # Panics
///
/// When it does not come.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "did not come: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that nothing is in a list, and shows what is.
pub(crate) fn none<T: Debug>(what: &str, found: &[T]) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}
