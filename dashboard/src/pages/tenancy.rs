//! In which tenant a page was made: in its header, and in its forms.
//!
//! A page belongs to the tenant in which it was made, and so do its forms: each says which that was, so that none acts in
//! another one after a switch in another tab.

use gristmill_core::access::Principal;
use maud::{Markup, html};

use super::form::OF_TENANT;
use super::parts::copies::path;
use super::parts::time::zone_name;

/// What a person has chosen, in the header of each page, and the way to another choice.
pub(super) fn switch(caller: &Principal, address: &str) -> Markup {
    // The way back from the choice itself leads to where the person was before.
    let href =
        if address.starts_with("/choice") { address.to_owned() } else { path("/choice", &[("next", Some(address))]) };
    html! {
        a class="tenant" href=(href) title="Your tenant; choose another one" { (caller.tenant) }
        a class="zone" href={ (href) "#zone" } title="The time zone of what is shown; choose another one" { (zone_name()) }
    }
}

/// The forms of a page, each with the tenant in which the page was made.
pub(super) fn bound(html: &str, tenant: &str) -> String {
    const FORM: &str = "<form method=\"post\"";
    let field = html! { input type="hidden" name=(OF_TENANT) value=(tenant); }.into_string();
    let mut bound = String::with_capacity(html.len() + 64);
    let mut rest = html;
    while let Some(at) = rest.find(FORM) {
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        bound.push_str(&rest[..end]);
        bound.push_str(&field);
        rest = &rest[end..];
    }
    bound.push_str(rest);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_changes_something_says_of_which_tenant_it_is() {
        let html = "<form id=\"a\"></form><form method=\"post\" action=\"/x?a=1&gt;2\"><button>b</button></form>";
        assert_eq!(
            bound(html, "acme"),
            "<form id=\"a\"></form><form method=\"post\" action=\"/x?a=1&gt;2\">\
             <input type=\"hidden\" name=\"of-tenant\" value=\"acme\"><button>b</button></form>"
        );
    }
}
