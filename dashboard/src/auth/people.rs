//! Callers by the users, tokens and sessions of the store.

use async_trait::async_trait;
use gristmill_service::accounts::Recognizer;
use gristmill_store::accounts::{Recognition, Recognized};

use super::recognize::{Credential, KnownCaller, Recognize, Unrecognized};

#[async_trait]
impl Recognize for Recognizer {
    async fn recognize(&self, credential: &Credential, tenant: Option<&str>) -> Result<KnownCaller, Unrecognized> {
        let found = match credential {
            Credential::Bearer(token) => self.token(token, tenant).await?,
            Credential::Session(session) => self.session(session, tenant).await?,
        };
        match found {
            Some(Recognition::Known(recognized)) => {
                let Recognized { principal, requests_per_minute, .. } = recognized;
                Ok(KnownCaller { principal, requests_per_minute })
            }
            Some(Recognition::NotMember) => Err(Unrecognized::NotMember),
            Some(Recognition::Suspended) => Err(Unrecognized::Suspended),
            None => Err(Unrecognized::Invalid),
        }
    }
}
