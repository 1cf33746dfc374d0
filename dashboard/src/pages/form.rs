//! What a form sends: texts by their names, read field by field, with everything that is wrong at once.

use std::fmt::{self, Display};
use std::str::FromStr;

use axum::extract::{FromRequest, Request};
use gristmill_core::access::Principal;
use gristmill_service::accounts::Secret;

use crate::gate::authenticate::elsewhere;
use crate::gate::body::check_media;
use crate::gate::describe::{Argument, BodyShape, Endpoint, plain};
use crate::gate::text::decoded;
use crate::gate::{Api, ApiError, Change, ErrorCode, Fault, Result, limits};

/// The type of its content.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// The field in which a form says in which tenant its page was made.
pub const OF_TENANT: &str = "of-tenant";

/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 1_000;

/// What a form has sent. The last argument of its handler.
#[derive(Default)]
pub struct Form {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
    asked: Vec<String>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords are among the values.
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads what a form has sent.
    pub fn of(text: &str) -> Self {
        Self { pairs: decoded(text), ..Self::default() }
    }

    /// A form with values to begin with.
    pub fn filled(pairs: &[(&str, &str)]) -> Self {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { pairs: pairs.iter().map(pair).collect(), ..Self::default() }
    }

    /// What was typed into a field, to be shown again; empty where nothing was.
    pub fn given(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text)
    }

    /// What is wrong with a field.
    pub fn fault_of(&self, name: &str) -> Option<&str> {
        self.faults.iter().find(|fault| fault.path == name).map(|fault| fault.message.as_str())
    }

    /// What is wrong, but with no field that the form has read.
    pub fn other_faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(|fault| fault.path.is_empty() || !self.asked.contains(&fault.path))
    }

    /// Whether anything is wrong.
    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The text of a field, without blanks around it; `None` when it is empty.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.ask(name);
        Some(self.given(name).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The value of a field that may be empty.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error: T::Err| self.fault(name, error.to_string())).ok()
    }

    /// The value of a field that must be filled in.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        if self.text(name).is_none() {
            self.fault(name, "is missing");
        }
        self.optional(name)
    }

    /// A password or another secret: every character counts. Where it is missing, that is a fault.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.ask(name);
        let text = Some(self.given(name)).filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.fault(name, "is missing");
        }
        text.map(Secret::new)
    }

    /// Whether a box is ticked.
    pub fn flag(&mut self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// All values of a field that may be there several times.
    pub fn many(&mut self, name: &str) -> Vec<String> {
        self.ask(name);
        self.pairs.iter().filter(|(known, _)| known == name).map(|(_, text)| text.clone()).collect()
    }

    /// The names that were sent and begin with this, without it.
    pub fn names_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter_map(move |(name, _)| name.strip_prefix(prefix))
    }

    /// How a change is asked for: the field `reason`.
    pub fn change(&mut self) -> Change {
        let reason = self.text("reason");
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
            self.fault("reason", format!("has more than {REASON_CHARS_MAX} characters"));
        }
        Change { dry_run: false, reason }
    }

    /// Checks that what had to be typed was: the field `confirm`.
    pub fn confirm(&mut self, expected: &str) {
        if self.text("confirm").as_deref() != Some(expected) {
            self.fault("confirm", format!("is not `{expected}`; type it to confirm"));
        }
    }

    /// Something is wrong with a field.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.ask(name);
        self.faults.push(Fault::new(name, message));
    }

    /// What a verb has refused, at the fields that it names: `/params/day` is the field `params/day`. An error that names
    /// no place is given back.
    ///
    /// # Errors
    ///
    /// The same error.
    pub fn take(&mut self, error: ApiError) -> Result<()> {
        if error.faults.is_empty() {
            return Err(error);
        }
        self.faults.extend(error.faults.into_iter().map(|fault| {
            let place = fault.path.trim_start_matches(['/', '?']).to_owned();
            Fault::new(place, fault.message)
        }));
        Ok(())
    }

    /// What a verb has refused, at its fields or above the form. What the person cannot change is given back: that the store is
    /// away, or a fault of ours.
    ///
    /// # Errors
    ///
    /// The same error.
    pub fn refuse(&mut self, error: ApiError) -> Result<()> {
        let theirs = matches!(error.code, ErrorCode::Conflict | ErrorCode::Invalid | ErrorCode::BadRequest);
        if !error.faults.is_empty() {
            return self.take(error);
        }
        if !theirs {
            return Err(error);
        }
        self.faults.push(Fault::new("", error.message));
        Ok(())
    }

    /// Checks that nothing is wrong, and that nothing was sent that is not read.
    ///
    /// # Errors
    ///
    /// 422 with every fault.
    pub fn finish(&mut self) -> Result<()> {
        let unknown = self.pairs.iter().filter(|(name, _)| !self.asked.contains(name));
        let unknown: Vec<Fault> =
            unknown.map(|(name, _)| Fault::new(name.clone(), "is no field of this form")).collect();
        self.faults.extend(unknown);
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.faults.clone())) }
    }

    /// Checks that the page was made in the tenant in which its form is sent, where it says so.
    fn check_tenant(&mut self, tenant: Option<&str>) -> Result<()> {
        let of = self.given(OF_TENANT).to_owned();
        self.pairs.retain(|(name, _)| name != OF_TENANT);
        match tenant {
            Some(tenant) if !of.is_empty() && of != tenant => Err(elsewhere(&of, tenant, "nothing is changed")),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, name: &str) {
        if !self.asked.iter().any(|asked| asked == name) {
            self.asked.push(name.to_owned());
        }
    }
}

impl FromRequest<Api> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        check_media(request.headers(), &[FORM])?;
        let tenant = request.extensions().get::<Principal>().map(|caller| caller.tenant.clone());
        let bytes = limits::whole(request.into_body(), api.settings().body_bytes_max, api.stall()).await?;
        let mut form = Self::of(&String::from_utf8_lossy(&bytes));
        form.check_tenant(tenant.as_deref())?;
        Ok(form)
    }
}

impl Argument for Form {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.bodies.push(BodyShape { media: FORM, schema: plain::<String>(), optional: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_everything_that_is_wrong_is_said_at_once() {
        let mut form = Form::of("name=+retail%0A&chunk=x&password=+a+&odd=1");
        assert_eq!(form.required::<String>("name").as_deref(), Some("retail"));
        assert_eq!(form.optional::<u64>("chunk"), None);
        assert_eq!(form.secret("password").expect("there").expose(), " a ");
        assert_eq!(form.required::<u64>("most"), None);
        let error = form.finish().expect_err("faults");
        let paths: Vec<&str> = error.faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["chunk", "most", "odd"]);
        assert_eq!((form.given("chunk"), form.fault_of("most")), ("x", Some("is missing")));
        assert_eq!(form.other_faults().count(), 1);
        assert!(!format!("{form:?}").contains(" a "), "no secret is shown");
    }

    #[test]
    fn a_form_of_another_tenant_is_refused() {
        let form = || Form::of("of-tenant=acme&name=x");
        form().check_tenant(Some("main")).expect_err("of another one");
        for tenant in [Some("acme"), None] {
            let mut same = form();
            same.check_tenant(tenant).expect("of this one");
            same.text("name");
            same.finish().expect("nothing is left of it");
        }
        Form::of("name=x").check_tenant(Some("main")).expect("of a program that says nothing");
    }

    #[test]
    fn what_had_to_be_typed_is_compared() {
        let mut right = Form::of("confirm=retail&reason=+");
        right.confirm("retail");
        assert_eq!(right.change(), Change::default());
        right.finish().expect("right");
        let mut wrong = Form::of("confirm=Retail");
        wrong.confirm("retail");
        assert!(wrong.finish().expect_err("wrong").message.contains("type it to confirm"));
    }

    #[test]
    fn what_a_verb_refuses_stands_at_its_field() {
        let mut form = Form::of("params/day=x");
        form.text("params/day");
        form.take(ApiError::fault("/params/day", "is no date")).expect("at a field");
        assert_eq!(form.fault_of("params/day"), Some("is no date"));
        form.take(ApiError::not_found("gone")).expect_err("at no field");
    }
}
