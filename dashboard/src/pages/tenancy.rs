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

/// The forms of a page that change something, each with the tenant in which the page was made. Texts and values of
/// attributes are escaped: what looks like a form here is one.
pub(super) fn bound(html: &str, tenant: &str) -> String {
    const FORM: &str = "<form ";
    const CHANGES: &str = " method=\"post\"";
    let field = html! { input type="hidden" name=(OF_TENANT) value=(tenant); }.into_string();
    let mut bound = String::with_capacity(html.len() + 64);
    let mut rest = html;
    while let Some(at) = rest.find(FORM) {
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        bound.push_str(&rest[..end]);
        if rest[at..end].contains(CHANGES) {
            bound.push_str(&field);
        }
        rest = &rest[end..];
    }
    bound.push_str(rest);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::pages::parts::action::Action;
    use crate::pages::parts::selection::{Verb, whole};

    const FIELD: &str = "<input type=\"hidden\" name=\"of-tenant\" value=\"acme\">";

    #[test]
    fn every_form_that_changes_something_says_of_which_tenant_it_is() {
        let html = "<form id=\"a\"></form><form method=\"get\"></form>\
                    <form method=\"post\" action=\"/x?a=1&gt;2\"><button>b</button></form>";
        let expected = format!(
            "<form id=\"a\"></form><form method=\"get\"></form>\
             <form method=\"post\" action=\"/x?a=1&gt;2\">{FIELD}<button>b</button></form>"
        );
        assert_eq!(bound(html, "acme"), expected);
    }

    #[test]
    fn a_form_is_recognized_whatever_the_order_of_its_attributes() {
        let verb = Verb { name: "Retry", to: "/jobs/retry", word: None };
        for made in [
            Action::light("a", "/x", "Do it", "does it").form(),
            Action::typed("a", "/x", "Do it", "does it", "word").form(),
            whole("a", verb, "all of them", Markup::default()),
            html! { form id="a" class="b" action="/x" method="post" { button { "c" } } },
        ] {
            let html = bound(&made.0, "acme");
            let form = html.split("<form ").nth(1).expect("a form");
            assert!(form.split_once('>').expect("its tag").1.starts_with(FIELD), "{html}");
        }
    }
}
