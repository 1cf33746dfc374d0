//! Stage `mail`: the message that an item becomes.
//!
//! The address is read and the template is filled here, so that an item which could never be sent is set aside while its
//! batch is checked, and hurts no other. What is kept is a payload of the kind `email`: the message itself is made, and
//! frozen, when it is sent.

use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::BatchId;
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX, RunAt};
use gristmill_core::letter::{RecipientRole, TRANSACTIONAL};
use gristmill_core::mailing::{self, MailSpec};
use gristmill_core::one_or_many::OneOrMany;
use gristmill_mail::Mailbox;
use gristmill_mail::compose::{address_hash, mailbox, message_id};
use gristmill_store::{NewMessage, NewMessages, NewRecipient};
use serde_json::{Map, Value, json};

use super::{Refusal, field};
use crate::kind::payload::{EMAIL, EmailPayload};
use crate::mail::{Rendered, Templates};
use crate::settings::MailSettings;

/// The name of the stage.
const STAGE: &str = "mail";

/// A checked `mail` of a definition.
#[derive(Debug)]
pub struct Mail {
    spec: MailSpec,
    batch_name: String,
    queue: String,
    templates: Templates,
    from: Mailbox,
    redirect: Option<Mailbox>,
}

/// The message of an item, before it belongs to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemMessage {
    payload: EmailPayload,
    recipient: NewRecipient,
}

/// What the messages of a chunk have in common.
#[derive(Debug, Clone, Copy)]
pub struct MessageFrame<'a> {
    /// The batch.
    pub batch: BatchId,
    /// Its tenant.
    pub tenant: &'a str,
    /// The trace context of the chunk.
    pub trace: Option<&'a str>,
}

impl Mail {
    /// Checks the specification: its keys, its templates and what they are filled with, and its addresses.
    ///
    /// # Errors
    ///
    /// The key below `mail`, and the problem.
    pub fn compile(
        name: &str,
        definition: &BatchDefinition,
        spec: &MailSpec,
        settings: &MailSettings,
    ) -> Result<Self, (&'static str, String)> {
        if let Some(fault) = spec.fault() {
            return Err(fault);
        }
        let at = |key: &'static str| move |problem: String| (key, problem);
        let from = match &spec.from {
            Some(from) => mailbox("the sender", from).map_err(at("from"))?,
            None => mailbox("`mail.from`", &settings.from).map_err(at("from"))?,
        };
        for answers in spec.reply_to.as_slice() {
            mailbox("the address", answers).map_err(at("reply_to"))?;
        }
        if spec.list_unsubscribe == Some(true) {
            can_unsubscribe(spec, settings).map_err(at("list_unsubscribe"))?;
        }
        let redirect = settings.redirect_to.as_deref().map(|to| mailbox("`mail.redirect_to`", to)).transpose();
        let mail = Self {
            templates: templates(spec, settings)?,
            spec: spec.clone(),
            batch_name: name.to_owned(),
            queue: spec.queue.clone().unwrap_or_else(|| definition.queue.clone()),
            from,
            redirect: redirect.map_err(at("to"))?,
        };
        mail.check_templates()?;
        Ok(mail)
    }

    /// Each template exists, and takes no more than `data` names.
    fn check_templates(&self) -> Result<(), (&'static str, String)> {
        for (key, name) in self.template_names() {
            let taken = self.templates.names_in(name).map_err(|problem| (key, problem))?;
            if let Some(sample) = self.templates.sample(name).map_err(|problem| (key, problem))? {
                self.templates.render(name, &sample).map_err(|why| (key, format!("with its sample data: {why}")))?;
            }
            if self.spec.data.is_empty() {
                continue;
            }
            let root = |taken: &String| taken.split('.').next().unwrap_or_default().to_owned();
            if let Some(missing) = taken.iter().map(root).find(|root| !self.spec.data.contains_key(root)) {
                let problem = format!("names nothing as `{missing}`, which {} takes; add it", self.shown(name));
                return Err(("data", problem));
            }
        }
        Ok(())
    }

    fn template_names(&self) -> Vec<(&'static str, &str)> {
        let own = self.spec.subject.is_some().then_some(("subject", Templates::OWN));
        let one = self.spec.template.as_deref().map(|template| ("template", template));
        let several = self.spec.variants.iter().map(|variant| ("variants", variant.template.as_str()));
        own.into_iter().chain(one).chain(several).collect()
    }

    fn shown(&self, template: &str) -> String {
        if template == Templates::OWN { "its text".to_owned() } else { format!("the template `{template}`") }
    }

    /// Where its messages wait.
    pub fn spec(&self) -> &MailSpec {
        &self.spec
    }

    /// Makes the message of an item.
    ///
    /// # Errors
    ///
    /// When the item has no address, or the template cannot be filled with it.
    pub fn message(&self, item: &Value) -> Result<ItemMessage, Refusal> {
        let refused = |reason: String| Refusal::new(STAGE, reason);
        let to = self.recipient(item).map_err(refused)?;
        let hash = address_hash(to.email.as_ref());
        let data = self.data(item).map_err(refused)?;
        let template = self.spec.template_for(&self.batch_name, &hash).map(str::to_owned);
        let rendered = self.render(template.as_deref(), &data).map_err(refused)?;
        let direct = template.is_none().then_some(rendered);
        let payload = EmailPayload {
            to: OneOrMany::One(written(&to)),
            reply_to: self.spec.reply_to.clone(),
            from: self.spec.from.clone(),
            data: if template.is_some() { data } else { Value::Null },
            template,
            subject: direct.as_ref().map(|direct| direct.subject.clone()),
            text: direct.as_ref().filter(|_| self.spec.text.is_some()).map(|direct| direct.text.clone()),
            html: direct.and_then(|direct| direct.html),
            headers: self.spec.headers.clone(),
            stream: Some(self.spec.stream().to_owned()),
            expires_in: self.spec.expires_in,
            list_unsubscribe: self.spec.list_unsubscribe.filter(|wanted| !wanted),
            ..EmailPayload::default()
        };
        let bytes = json!(payload).to_string().len();
        if bytes > PAYLOAD_BYTES_MAX {
            let problem = format!(
                "its message takes {bytes} bytes, and a payload has {PAYLOAD_BYTES_MAX}; name what the template needs with `mail.data`"
            );
            return Err(refused(problem));
        }
        let gets_it = self.redirect.as_ref().map_or(&to.email, |redirect| &redirect.email);
        let recipient = NewRecipient {
            role: RecipientRole::To,
            address: gets_it.to_string(),
            address_hash: address_hash(gets_it.as_ref()),
        };
        Ok(ItemMessage { payload, recipient })
    }

    fn recipient(&self, item: &Value) -> Result<Mailbox, String> {
        let to = &self.spec.to;
        let address = text_of(item, to).ok_or_else(|| format!("the item has no text `{to}`, which `mail.to` names"))?;
        if address.trim().is_empty() {
            return Err(format!("`{to}`, which `mail.to` names, is empty"));
        }
        // A field of a file may end in white space; an address never does.
        let mut found = mailbox(&format!("`{to}`"), address.trim())?;
        if let Some(name) = self.spec.name.as_ref().and_then(|name| text_of(item, name)) {
            let name = name.trim();
            if name.chars().any(char::is_control) {
                return Err(format!("the name in `{}` is not one line", self.spec.name.as_deref().unwrap_or_default()));
            }
            // Quotes and brackets would be read as parts of the address.
            let name: String = name.chars().filter(|c| !matches!(c, '<' | '>' | '"')).collect();
            found.name = (!name.is_empty()).then_some(name);
        }
        Ok(found)
    }

    /// What the template is filled with.
    fn data(&self, item: &Value) -> Result<Value, String> {
        if self.spec.data.is_empty() {
            return Ok(item.clone());
        }
        let mut data = Map::new();
        for (name, from) in &self.spec.data {
            let value = field::get(item, from)
                .ok_or_else(|| format!("the item has no field `{from}`, which `mail.data.{name}` names"))?;
            data.insert(name.clone(), value.clone());
        }
        Ok(Value::Object(data))
    }

    /// Why the template cannot be filled with an item, if it cannot: what is wrong with an address is not asked.
    pub fn lacks(&self, item: &Value) -> Option<String> {
        let data = match self.data(item) {
            Ok(data) => data,
            Err(problem) => return Some(problem),
        };
        let of = |(_, name): (&str, &str)| self.templates.render(name, &data).err();
        self.template_names().into_iter().find_map(of)
    }

    fn render(&self, template: Option<&str>, data: &Value) -> Result<Rendered, String> {
        self.templates.render(template.unwrap_or(Templates::OWN), data)
    }

    /// What a message looks like: `to`, `template`, `subject`, `text`, and `html` where it has one.
    pub fn preview(&self, message: &ItemMessage) -> Value {
        let payload = &message.payload;
        let rendered = match (&payload.template, &payload.subject) {
            (Some(template), _) => self.render(Some(template), &payload.data),
            (None, subject) => Ok(Rendered {
                subject: subject.clone().unwrap_or_default(),
                text: payload
                    .text
                    .clone()
                    .unwrap_or_else(|| gristmill_mail::compose::text_of(payload.html.as_deref().unwrap_or_default())),
                html: payload.html.clone(),
            }),
        };
        let mut preview = Map::new();
        preview.insert("to".to_owned(), json!(payload.to));
        preview.extend(payload.template.iter().map(|template| ("template".to_owned(), json!(template))));
        if let Ok(Rendered { subject, text, html }) = rendered {
            preview.insert("subject".to_owned(), json!(subject));
            preview.insert("text".to_owned(), json!(text));
            preview.extend(html.map(|html| ("html".to_owned(), json!(html))));
        }
        Value::Object(preview)
    }

    /// The messages of a chunk, each with its job, from the places of their items.
    pub fn messages(&self, frame: MessageFrame<'_>, of_items: Vec<(u64, ItemMessage)>) -> NewMessages {
        let one = |(item, message): (u64, ItemMessage)| {
            let (template, recipient) = (message.payload.template.clone(), message.recipient.clone());
            let job = self.job(frame, item, message);
            NewMessage {
                item,
                message_id: message_id(frame.tenant, &job.id.to_string(), &self.from),
                job,
                variant: template.clone().unwrap_or_default(),
                template,
                recipient,
            }
        };
        NewMessages {
            batch: frame.batch,
            stream: self.spec.stream().to_owned(),
            messages: of_items.into_iter().map(one).collect(),
        }
    }

    fn job(&self, frame: MessageFrame<'_>, item: u64, message: ItemMessage) -> NewJob {
        NewJob {
            tenant: frame.tenant.to_owned(),
            queue: self.queue.clone(),
            priority: self.spec.priority(),
            key: Some(self.spec.key.clone().unwrap_or_else(|| frame.batch.to_string())),
            run: self.spec.send_at.map_or(RunAt::Now, RunAt::At),
            max_attempts: self.spec.max_attempts(),
            retry: mailing::retry(),
            trace: frame.trace.map(str::to_owned),
            batch: Some(frame.batch),
            ..NewJob::new(mailing::message_id(frame.batch, item), EMAIL, json!(message.payload))
        }
    }
}

impl ItemMessage {
    /// The payload, for a recipient of a test: its subject is marked, and it is counted nowhere.
    #[must_use]
    pub fn to_test(mut self, to: &str) -> EmailPayload {
        self.payload.to = OneOrMany::One(to.to_owned());
        self.payload.subject_prefix = Some("[Test]".to_owned());
        self.payload
    }
}

fn can_unsubscribe(spec: &MailSpec, settings: &MailSettings) -> Result<(), String> {
    if settings.unsubscribe_url.is_none() {
        return Err("needs `[mail] unsubscribe_url`, so that there is a link to put in".to_owned());
    }
    match spec.stream() {
        TRANSACTIONAL => Err(format!("nobody can leave the stream `{TRANSACTIONAL}`; name another `stream`")),
        _ => Ok(()),
    }
}

/// The templates, with the specification's own text among them.
fn templates(spec: &MailSpec, settings: &MailSettings) -> Result<Templates, (&'static str, String)> {
    let folder = settings.templates.as_deref();
    let Some(subject) = &spec.subject else { return Ok(Templates::new(folder)) };
    Templates::with_own(folder, subject, spec.text.as_deref(), spec.html.as_deref())
}

/// A field that holds a text.
fn text_of<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    field::get(item, name).and_then(Value::as_str)
}

/// A mailbox as `Name <address>`, which is read back as the same.
fn written(to: &Mailbox) -> String {
    match &to.name {
        Some(name) => format!("{name} <{}>", to.email),
        None => to.email.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn definition(mail: Value) -> BatchDefinition {
        serde_json::from_value(json!({ "source": { "csv": "a.csv" }, "queue": "night", "mail": mail })).expect("keys")
    }

    fn compiled(mail: Value, settings: &MailSettings) -> Result<Mail, (&'static str, String)> {
        let definition = definition(mail);
        Mail::compile("news", &definition, definition.mail.as_ref().expect("mail"), settings)
    }

    fn direct() -> Mail {
        let mail = json!({ "to": "email", "name": "who", "subject": "Hello {{ who }}", "text": "It is {{ n }}.\n" });
        compiled(mail, &MailSettings::default()).expect("good")
    }

    #[test]
    fn an_item_becomes_a_message_to_one_recipient() {
        let mail = direct();
        let message = mail.message(&json!({ "email": " Ada@Example.org ", "who": "Ada", "n": 7 })).expect("a message");
        assert_eq!(message.payload.to.as_slice(), ["Ada <Ada@Example.org>"]);
        assert_eq!(message.payload.subject.as_deref(), Some("Hello Ada"));
        assert_eq!(message.payload.text.as_deref(), Some("It is 7.\n"));
        assert_eq!(message.recipient.address_hash, address_hash("ada@example.org"));
        assert_eq!(mail.preview(&message)["text"], "It is 7.\n");
        let batch = BatchId(Uuid::from_u128(5 << 80));
        let frame = MessageFrame { batch, tenant: "main", trace: None };
        let made = mail.messages(frame, vec![(3, message.clone()), (9, message)]);
        let job = &made.messages[1].job;
        assert_eq!((made.stream.as_str(), job.queue.as_str(), job.kind.as_str()), ("broadcast", "night", "email"));
        assert_eq!((job.id, job.batch), (mailing::message_id(batch, 9), Some(batch)));
        assert_eq!(job.key.as_deref(), Some(batch.to_string().as_str()), "mailings take turns");
        assert_eq!(job.priority, gristmill_core::job::Priority::Low);
        crate::kind::check::payload(EMAIL, &job.payload).expect("one that its kind takes");
        assert_ne!(made.messages[0].message_id, made.messages[1].message_id);
    }

    #[test]
    fn what_could_not_be_sent_is_refused_with_the_field() {
        let mail = direct();
        for (item, word) in [
            (json!({ "who": "Ada", "n": 1 }), "no text `email`"),
            (json!({ "email": 5, "who": "Ada", "n": 1 }), "no text `email`"),
            (json!({ "email": " ", "who": "Ada", "n": 1 }), "is empty"),
            (json!({ "email": "nobody", "who": "Ada", "n": 1 }), "`email` is not one address"),
            (json!({ "email": "a@b.example\r\nBcc: c@d.example", "who": "Ada", "n": 1 }), "control character"),
            (json!({ "email": "a@b.example", "who": "A\nB", "n": 1 }), "not one line"),
            (json!({ "email": "a@b.example", "who": "Ada" }), "the data lacks a name"),
        ] {
            let refusal = mail.message(&item).expect_err(word);
            assert!(refusal.stage == "mail" && refusal.reason.contains(word), "{refusal:?}");
        }
        let quoted = mail.message(&json!({ "email": "a@b.example", "who": "<x@y.example> \"A\"", "n": 1 }));
        assert_eq!(quoted.expect("taken").payload.to.as_slice(), ["x@y.example A <a@b.example>"]);
    }

    #[test]
    fn what_is_wrong_with_a_mail_is_said_with_its_key() {
        let settings = MailSettings::default();
        let refused = |mail: Value| compiled(mail, &settings).expect_err("refused");
        let base = |more: Value| {
            let mut mail = json!({ "to": "email", "subject": "s", "text": "{{ a.b }}" });
            mail.as_object_mut().expect("a table").extend(more.as_object().cloned().unwrap_or_default());
            mail
        };
        let (key, problem) = refused(base(json!({ "text": "{{ a" })));
        assert!(key == "text" && problem.contains("text.txt"), "{key}: {problem}");
        let (key, problem) = refused(base(json!({ "data": { "b": "b" } })));
        assert!(key == "data" && problem.contains("`a`"), "{key}: {problem}");
        assert_eq!(refused(base(json!({ "from": "nobody" }))).0, "from");
        assert_eq!(refused(base(json!({ "list_unsubscribe": true }))).0, "list_unsubscribe");
        assert_eq!(refused(json!({ "to": "email", "template": "missing" })).0, "template");
        let several = json!({ "to": "email", "variants": [{ "template": "missing", "share": 1 }] });
        assert_eq!(refused(several).0, "variants");
        compiled(base(json!({ "data": { "a": "anything" } })), &settings).expect("it has what the text takes");
    }

    #[test]
    fn a_test_is_marked_and_goes_to_somewhere_else() {
        let message = direct().message(&json!({ "email": "a@b.example", "who": "Ada", "n": 7 })).expect("a message");
        let payload = message.to_test("me@example.com");
        assert_eq!(payload.to.as_slice(), ["me@example.com"]);
        assert_eq!(payload.subject_prefix.as_deref(), Some("[Test]"));
    }
}
