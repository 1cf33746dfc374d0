//! What each role sees and what it is refused; what the browser complains about; how pages are on a narrow window and on paper.

use gristmill_core::access::Role;
use gristmill_dashboard::pages::nav::NAV;
use serde_json::json;

use crate::driver::{Browser, Scripts, none};
use crate::places::{Place, world};

/// Pages of which nothing is there: refused on purpose.
const MISSING: &str = "/triggers/hook/none";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_sees_its_pages_and_is_refused_the_others() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.open("/batches?state=open").await;
    browser.is_at("/login?next=%2Fbatches%3Fstate%3Dopen").await;
    for role in Role::ALL {
        browser.become_role(role.as_str()).await;
        let mut seen = Vec::new();
        for entry in NAV {
            let place = Place { path: entry.path.to_owned(), access: entry.access };
            if sees(&browser, role, &place).await {
                seen.push(entry.name);
                assert_eq!(browser.text(".side a[aria-current]").await, entry.name, "where {role} is");
                assert_eq!(browser.text(".who .badge").await, role.as_str());
            }
        }
        browser.open("/account").await;
        let links = "return [...document.querySelectorAll('.side a')].map((one) => one.textContent)";
        assert_eq!(browser.run(links, &[]).await, json!(seen), "the navigation of {role}");
    }
}

/// Whether a role sees a page. One that it may not see says so.
async fn sees(browser: &Browser, role: Role, place: &Place) -> bool {
    browser.open(&place.path).await;
    let refused = browser.count(".refusal").await > 0;
    assert_eq!(refused, !place.is_for(role), "{} as {role}", place.path);
    if refused {
        assert_eq!(browser.text("main h1").await, "The caller may not do that", "{} as {role}", place.path);
    }
    !refused
}

/// Those that the navigation has are looked at above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_sees_the_further_pages_and_is_refused_the_others() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    let all = world.places(&browser).await;
    let further = all.iter().filter(|place| !NAV.iter().any(|entry| entry.path == place.path) && place.path != MISSING);
    let further: Vec<&Place> = further.collect();
    assert!(further.len() > 25, "{further:?}");
    for role in Role::ALL {
        browser.become_role(role.as_str()).await;
        let mut seen = 0;
        for place in &further {
            seen += u32::from(sees(&browser, role, place).await);
        }
        assert!(seen > 5, "{role} sees {seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buttons_are_there_for_those_who_may_use_them() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    let job = format!("/jobs/{}", world.work.dead);
    let batch = format!("/batches/{}", world.work.batch);
    for (path, button) in [
        ("/queues/mail", "#pause-mail"),
        (job.as_str(), "#redrive"),
        (batch.as_str(), "#pause"),
        ("/jobs", "#ticked"),
        ("/schedules/nightly", "#disable"),
    ] {
        for (role, is_there) in [("viewer", 0), ("auditor", 0), ("operator", 1), ("admin", 1), ("owner", 1)] {
            browser.become_role(role).await;
            browser.open(path).await;
            assert_eq!(browser.count(button).await, is_there, "{button} on {path} for {role}");
        }
    }
}

/// What is wider than the window, as selectors.
const OVERFLOWING: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const name = (one) => one.tagName.toLowerCase() + (one.id ? '#' + one.id : '') + [...one.classList].map((c) => '.' + c).join('');
    return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > width + 1).map(name);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_is_wider_than_320_pixels_and_no_page_breaks_its_policy() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    let mut wrong = Vec::new();
    for width in [320, 768] {
        browser.size(width, 900).await;
        for place in world.places(&browser).await {
            browser.complaints().await;
            browser.open(&place.path).await;
            let wide = browser.run(OVERFLOWING, &[]).await;
            if wide != json!([]) {
                wrong.push(format!("{} at {width} px: {wide}", place.path));
            }
            let said = browser.complaints().await;
            let expected = |one: &&String| place.path == MISSING && one.contains("404");
            wrong.extend(said.iter().filter(|one| !expected(one)).map(|one| format!("{}: {one}", place.path)));
        }
    }
    none("pages", &wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_or_style_within_a_page_would_not_run() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    browser.open("/queues").await;
    let inject = "
        const script = document.createElement('script');
        script.textContent = 'document.documentElement.dataset.ran = 1';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p id=odd style=\"position: fixed\"></p><img src=\"https://example.com/x.png\">');
        return [document.documentElement.dataset.ran || null, getComputedStyle(document.getElementById('odd')).position];";
    assert_eq!(browser.run(inject, &[]).await, json!([null, "static"]));
    let said = browser.complaints().await;
    for directive in ["script-src", "style-src", "img-src"] {
        assert!(said.iter().any(|one| one.contains(directive)), "{directive} was not enforced: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paper_has_the_content_and_nothing_to_click() {
    let world = world().await;
    let Some(browser) = Browser::start(world.env.addr, Scripts::On).await else { return };
    browser.become_role("owner").await;
    let batch = format!("/batches/{}", world.work.batch);
    for path in ["/", "/jobs", batch.as_str(), "/schedules/nightly", "/audit"] {
        browser.open(path).await;
        browser.medium("dark", "print").await;
        browser.size(700, 900).await;
        let shown = "
            const seen = (css) => [...document.querySelectorAll(css)].filter((one) => one.offsetParent).length;
            const light = getComputedStyle(document.documentElement).colorScheme;
            return [seen('.top'), seen('.side'), seen('main h1'), seen('.acts button, .acts summary'), light];";
        assert_eq!(browser.run(shown, &[]).await, json!([0, 0, 1, 0, "light"]), "{path}");
        let wide = browser.run(OVERFLOWING, &[]).await;
        assert_eq!(wide, json!([]), "{path} on paper");
        browser.medium("light", "").await;
        let printed = browser.tool("Page.printToPDF", json!({})).await;
        let data = printed["data"].as_str().unwrap_or_default();
        assert!(data.starts_with("JVBERi0") && data.len() > 5_000, "{path} is a document: {}", data.len());
    }
}
