//! Every page that there is, with something on it.

use gristmill_core::access::Role;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_dashboard::gate::{Access, Endpoint};
use gristmill_dashboard::pages::routes;
use gristmill_mail::signed::{Signed, Unsubscribe};

use crate::driver::Browser;
use crate::env::{self, TestEnv};
use crate::stock::{Stock, stock};
use crate::work::{Work, pause, work};

/// An id that nothing has.
const NOTHING: &str = "0198f9c1-7d2e-7000-8000-000000000000";

/// The link that is in an email.
fn unsubscribing() -> String {
    let (tenant, stream) = (DEFAULT_TENANT.to_owned(), "news".to_owned());
    let about = Unsubscribe { tenant, stream, address_hash: [1; 32] };
    let signed = Signed::new(env::MAIL_SECRET).expect("long enough");
    format!("/unsubscribe/{}", signed.unsubscribe_token(&about))
}

/// A page: its address, and who may see it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) access: Access,
}

impl Place {
    /// Whether a role sees it, and not a refusal.
    pub(crate) fn is_for(&self, role: Role) -> bool {
        match self.access {
            Access::Open | Access::Recognized => true,
            Access::Permitted(permission) | Access::Installation(permission) => role.allows(permission),
        }
    }
}

/// A server where the session says the role, with one of everything.
pub(crate) struct World {
    pub(crate) env: TestEnv,
    pub(crate) stock: Stock,
    pub(crate) work: Work,
}

pub(crate) async fn world() -> World {
    let env = env::with_users().await;
    let stock = stock(&env).await;
    let work = work(&env).await;
    pause(&env, "paused").await;
    World { env, stock, work }
}

impl World {
    /// The address of the page of an error.
    async fn an_error(&self, browser: &Browser) -> String {
        browser.open("/errors").await;
        let link =
            browser.find("main a[href^='/errors/']").await.attr("href").await.expect("asked").expect("an address");
        link.split('?').next().expect("a path").to_owned()
    }

    fn filled(&self, endpoint: &Endpoint, error: &str) -> String {
        let (item, entry) = (self.stock.item.to_string(), "1".to_owned());
        let parts = [
            ("/errors/{fingerprint}", error.to_owned()),
            ("{position}", "1".to_owned()),
            ("{queue}", "mail".to_owned()),
            ("{limit}", "crm".to_owned()),
            ("{operation}", self.stock.operation.clone()),
            ("{email}", self.stock.email.clone()),
            ("/unsubscribe/{token}", unsubscribing()),
            ("{schedule}", "nightly".to_owned()),
            ("{item}", item),
            ("{batch}", self.work.batch.to_string()),
            ("{job}", self.work.dead.to_string()),
            ("{entry}", entry),
            ("{sort}/{name}", "hook/none".to_owned()),
        ];
        parts.iter().fold(endpoint.path.clone(), |path, (name, value)| path.replace(name, value))
    }

    /// Every page, and the other faces of those that have several. The browser is one of an owner.
    pub(crate) async fn places(&self, browser: &Browser) -> Vec<Place> {
        let error = self.an_error(browser).await;
        let pages = |endpoint: &&Endpoint| endpoint.method == "GET" && endpoint.is_page();
        let own = routes();
        // What is saved as a file, and the ways to a login elsewhere and back.
        let apart = ["/quarantine/export", "/login/", "/account/logins/back/"];
        let found = own.endpoints().filter(pages);
        let found = found.filter(|endpoint| !apart.iter().any(|path| endpoint.path.starts_with(path)));
        let mut all: Vec<Place> =
            found.map(|endpoint| Place { path: self.filled(endpoint, &error), access: endpoint.access }).collect();
        let faces = [
            "/batches/BATCH?tab=quarantine",
            "/batches/BATCH?tab=errors",
            "/batches/BATCH?tab=result",
            "/batches/BATCH?tab=configuration",
            "/jobs/JOB?contents=true",
            "/dead?by=job",
            "/quarantine?by=item",
            "/operations/start?verb=redrive&q=state:dead",
        ];
        for face in faces {
            let path =
                face.replace("BATCH", &self.work.batch.to_string()).replace("JOB", &self.work.running.to_string());
            let base = path.split('?').next().expect("a path").replace(&self.work.running.to_string(), NOTHING);
            let is_same = |place: &&Place| {
                let own = place.path.replace(&self.work.dead.to_string(), NOTHING);
                own == base
            };
            let access = all.iter().find(is_same).unwrap_or_else(|| panic!("{base} is a page")).access;
            all.push(Place { path, access });
        }
        assert!(all.len() > 40, "{all:?}");
        all
    }
}
