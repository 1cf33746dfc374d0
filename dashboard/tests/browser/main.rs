//! The pages in a real browser: Chromium, driven by WebDriver, over the server and the store of the API's tests.
//!
//! `scripts/browser` provides the browser. Where it cannot be had these tests do not run and say so, unless
//! `GRISTMILL_REQUIRE_BROWSER=1` makes that a failure.

mod actions;
mod driver;
#[path = "../api/env.rs"]
#[allow(dead_code, reason = "the API's tests use more of it")]
mod env;
mod further;
mod judged;
mod keys;
#[path = "../pages/letters.rs"]
#[allow(dead_code, reason = "the tests of the pages use more of it")]
mod letters;
mod live;
mod login;
mod places;
mod roles;
#[path = "../pages/stock.rs"]
#[allow(dead_code, reason = "the tests of the pages use more of it")]
mod stock;
mod tenants;
#[path = "../pages/work.rs"]
#[allow(dead_code, reason = "the tests of the pages use more of it")]
mod work;
