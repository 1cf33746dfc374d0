//! The mails with links: ordinary jobs of kind `email`, in a tenant of the installation's own, so that no member of any
//! tenant can read the links in their payloads.

use std::time::Duration;

use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{INSTALLATION_TENANT, JobId};
use gristmill_core::job::NewJob;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_jobs::kind::payload::{EMAIL, EmailPayload};
use gristmill_store::accounts::{Letter, LinkPurpose};
use serde_json::{Value, json};
use uuid::Uuid;

use super::secret::Secret;
use super::settings::AccountSettings;

/// The tenant of the mails. No name of a tenant that can be created begins so.
pub const MAIL_TENANT: &str = INSTALLATION_TENANT;

/// Within which time no second mail that anybody may ask for goes to the same address.
const ONCE_IN: Duration = Duration::from_secs(5 * 60);

/// Where a link leads. What follows `#` is sent to no server and stands in no log.
pub(super) fn address(base: &str, secret: &Secret) -> String {
    format!("{}/link#{}", base.trim_end_matches('/'), secret.expose())
}

/// The mail with a link; `about` fills its template besides `url`.
pub(super) fn letter(
    settings: &AccountSettings,
    purpose: LinkPurpose,
    to: &EmailAddress,
    url: &str,
    about: Value,
) -> Letter {
    let template = match purpose {
        LinkPurpose::Invite => "invitation",
        LinkPurpose::Verify => "verification",
        LinkPurpose::Reset | LinkPurpose::FirstOwner => "password-reset",
    };
    let mut data = json!({ "url": url });
    if let (Some(data), Value::Object(about)) = (data.as_object_mut(), about) {
        data.extend(about);
    }
    let payload = EmailPayload {
        to: OneOrMany::One(to.to_string()),
        template: Some(template.to_owned()),
        data,
        ..Default::default()
    };
    let job = NewJob {
        tenant: MAIL_TENANT.to_owned(),
        queue: settings.queue.clone(),
        ..NewJob::new(JobId(Uuid::now_v7()), EMAIL, json!(payload))
    };
    // A member who invites is known; anybody may ask for the others.
    let once_in = if purpose == LinkPurpose::Invite { Duration::ZERO } else { ONCE_IN };
    Letter { job, once_in }
}
