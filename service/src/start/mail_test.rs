//! A test of a mailing: the messages of the first items of its input, to addresses of a test. No batch is created, and
//! nothing is counted for one.

use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use gristmill_jobs::kind::payload::{EMAIL, EmailPayload};
use gristmill_jobs::pipeline::DefinitionError;
use gristmill_mail::compose::mailbox;
use serde_json::json;
use uuid::Uuid;

use super::batch::StartError;
use super::plan::StartBatch;
use super::trial::first_messages;
use crate::Service;
use crate::order::Order;

/// The most items of a test.
pub const TEST_ITEMS_MAX: u64 = 100;

/// The most addresses of a test.
const TEST_ADDRESSES_MAX: usize = 20;

/// To whom a test goes, and of how many items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailTest {
    /// The addresses: each gets every message.
    pub to: Vec<String>,
    /// How many items of the input: 1 to [`TEST_ITEMS_MAX`].
    pub items: u64,
}

/// What a test came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestedMail {
    /// The jobs that were enqueued. Empty at a dry run.
    pub jobs: Vec<JobId>,
    /// How many messages there are.
    pub messages: u64,
    /// Why items became no message.
    pub refused: Vec<String>,
}

/// What a test would send. Nothing is enqueued.
///
/// # Errors
///
/// Those that the batch would meet before it is created; for a definition that sends no mail, and an address that is none.
pub async fn rehearse_mail(start: StartBatch, test: &MailTest) -> Result<TestedMail, StartError> {
    let (payloads, refused) = payloads(start, test).await?;
    Ok(TestedMail { jobs: Vec::new(), messages: payloads.len() as u64, refused })
}

async fn payloads(start: StartBatch, test: &MailTest) -> Result<(Vec<EmailPayload>, Vec<String>), StartError> {
    let key = format!("batch.{}.mail", start.name);
    let wrong = |problem: String| StartError::from(DefinitionError { key: key.clone(), problem });
    if test.to.is_empty() || test.to.len() > TEST_ADDRESSES_MAX {
        return Err(wrong(format!("a test goes to 1 to {TEST_ADDRESSES_MAX} addresses, and not to {}", test.to.len())));
    }
    for to in &test.to {
        mailbox("an address of the test", to).map_err(wrong)?;
    }
    if start.definition.mail.is_none() {
        return Err(wrong("is missing: the batch sends no mail that could be tested".to_owned()));
    }
    let (messages, refused) = first_messages(start, test.items.clamp(1, TEST_ITEMS_MAX)).await?;
    let each = messages.iter().flat_map(|message| test.to.iter().map(|to| message.clone().to_test(to)));
    Ok((each.collect(), refused))
}

impl Service {
    /// Sends the messages of the first items of a batch to the addresses of a test: each a job of its own, in no batch,
    /// with `[Test]` before its subject.
    ///
    /// # Errors
    ///
    /// Those of [`rehearse_mail`], and of the store.
    pub async fn test_mail(&self, order: &Order, start: StartBatch, test: &MailTest) -> Result<TestedMail, StartError> {
        let queue = start.definition.mail.as_ref().and_then(|mail| mail.queue.clone());
        let queue = queue.unwrap_or_else(|| start.definition.queue.clone());
        let (payloads, refused) = payloads(start, test).await?;
        let mut tested = TestedMail { messages: payloads.len() as u64, refused, ..TestedMail::default() };
        for payload in payloads {
            let job = NewJob { queue: queue.clone(), ..NewJob::new(JobId(Uuid::now_v7()), EMAIL, json!(payload)) };
            tested.jobs.extend(self.enqueue(order, job).await?.map(|enqueued| enqueued.id));
        }
        Ok(tested)
    }
}
