//! What a payload makes: a message and its recipients, frozen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::letter::{RecipientRole, TRANSACTIONAL, envelope_id, stream_fault};
use gristmill_core::mail_flow::domain_of;
use gristmill_mail::compose::{self, Attachment, Draft, address_hash, canonical, mailbox};
use gristmill_mail::dkim::{Key, Signer, sign};
use gristmill_mail::signed::{Signed, Unsubscribe};
use gristmill_mail::{Address, Mailbox};
use gristmill_store::{NewEmail, NewRecipient};

use super::template::{Rendered, Templates};
use crate::kind::payload::{AttachmentPayload, Content, EmailPayload};
use crate::secret;
use crate::settings::{DkimSettings, MailSettings};

/// Makes messages of payloads, as `[mail]` says.
#[derive(Debug)]
pub struct Maker {
    templates: Templates,
    from: Mailbox,
    attachments: Option<PathBuf>,
    signers: Vec<Signer>,
    returns: Option<(Signed, Address)>,
    unsubscribing: Option<(Signed, String)>,
    redirect: Option<Address>,
}

/// The mailboxes of a payload.
#[derive(Debug)]
pub(crate) struct Addressed {
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    bcc: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
}

impl Addressed {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When one is no address, or there is no recipient: a text without any address.
    pub(crate) fn read(payload: &EmailPayload) -> Result<Self, String> {
        let all = |key: &str, texts: &[String]| {
            texts.iter().map(|text| mailbox(&format!("`{key}`"), text)).collect::<Result<Vec<_>, _>>()
        };
        let read = Self {
            to: all("to", payload.to.as_slice())?,
            cc: all("cc", payload.cc.as_slice())?,
            bcc: all("bcc", payload.bcc.as_slice())?,
            reply_to: all("reply_to", payload.reply_to.as_slice())?,
        };
        if read.to.is_empty() && read.cc.is_empty() && read.bcc.is_empty() {
            return Err("the payload needs `to`: one address or a list of them".to_owned());
        }
        Ok(read)
    }

    /// Its recipients in the order of the message, each address once.
    fn recipients(&self) -> Vec<NewRecipient> {
        let lists = [(RecipientRole::To, &self.to), (RecipientRole::Cc, &self.cc), (RecipientRole::Bcc, &self.bcc)];
        let role = |address: &Address| {
            let same = |mailbox: &Mailbox| canonical(mailbox.email.as_ref()) == canonical(address.as_ref());
            lists.iter().find(|(_, list)| list.iter().any(same)).map_or(RecipientRole::To, |(role, _)| *role)
        };
        let all = compose::recipients(self.to.iter().chain(&self.cc).chain(&self.bcc));
        all.iter().map(|address| recipient(role(address), address)).collect()
    }
}

fn recipient(role: RecipientRole, address: &Address) -> NewRecipient {
    NewRecipient { role, address: address.to_string(), address_hash: address_hash(address.as_ref()) }
}

/// What identifies a message before it is made.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The job that delivers it.
    pub job: JobId,
    /// Its `Message-ID`. `None`: made from the tenant and the job.
    pub message_id: Option<&'a str>,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its `Date`.
    pub date: Instant,
}

/// What stands around the content of a message.
struct Frame<'a> {
    from: &'a Mailbox,
    message_id: &'a str,
    date: Instant,
    unsubscribe: Option<&'a str>,
}

impl Maker {
    /// Creates one from the settings. Keys and the sender's address are read here.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense or names what cannot be read: a text that names the key.
    pub fn new(settings: &MailSettings) -> Result<Self, String> {
        Ok(Self {
            templates: Templates::new(settings.templates.as_deref()),
            from: mailbox("`mail.from`", &settings.from)?,
            attachments: settings.attachments.as_deref().map(PathBuf::from),
            signers: settings.dkim.iter().map(signer).collect::<Result<_, _>>()?,
            returns: returns(settings)?,
            unsubscribing: unsubscribing(settings)?,
            redirect: match &settings.redirect_to {
                None => None,
                Some(to) => Some(mailbox("`mail.redirect_to`", to)?.email),
            },
        })
    }

    /// The domains of the recipients of a payload, without making its message.
    ///
    /// # Errors
    ///
    /// When one is no address: a text without any address.
    pub(crate) fn domains(&self, payload: &EmailPayload) -> Result<BTreeSet<String>, String> {
        if let Some(to) = &self.redirect {
            return Ok(BTreeSet::from([domain_of(to.as_ref())]));
        }
        let Addressed { to, cc, bcc, .. } = Addressed::read(payload)?;
        Ok(to.iter().chain(&cc).chain(&bcc).map(|one| domain_of(one.email.as_ref())).collect())
    }

    /// The address to which refusals of a message go.
    fn sender(&self, from: &Mailbox, message_id: &str) -> Result<Address, String> {
        match &self.returns {
            None => Ok(from.email.clone()),
            Some((signed, base)) => signed.return_address(base, envelope_id(message_id)),
        }
    }

    /// The link by which its only recipient takes itself off the stream. One that several would get would take all of
    /// them off, or none.
    fn unsubscribe_link(&self, tenant: &str, payload: &EmailPayload, recipients: &[NewRecipient]) -> Option<String> {
        let stream = payload.stream();
        let wanted = stream != TRANSACTIONAL && payload.list_unsubscribe != Some(false);
        let (signed, url) = self.unsubscribing.as_ref().filter(|_| wanted)?;
        let [one] = recipients else { return None };
        let about =
            Unsubscribe { tenant: tenant.to_owned(), stream: stream.to_owned(), address_hash: one.address_hash };
        Some(format!("{url}/unsubscribe/{}", signed.unsubscribe_token(&about)))
    }

    /// Renders a payload: for handlers and for previews.
    ///
    /// # Errors
    ///
    /// When the payload has neither a template nor a subject with a text, or both, or the template cannot be filled.
    pub fn render(&self, payload: &EmailPayload) -> Result<Rendered, String> {
        let mut rendered = match payload.content()? {
            Content::Template(name) => self.templates.render(name, &payload.data)?,
            Content::Direct { subject } => Rendered {
                subject: subject.to_owned(),
                text: payload
                    .text
                    .clone()
                    .unwrap_or_else(|| compose::text_of(payload.html.as_deref().unwrap_or_default())),
                html: payload.html.clone(),
            },
        };
        if let Some(prefix) = &payload.subject_prefix {
            rendered.subject = format!("{prefix} {}", rendered.subject);
        }
        Ok(rendered)
    }

    /// Makes the message of a payload. One that cannot be made has the reason as its content.
    ///
    /// # Errors
    ///
    /// When the payload does not say who sends and who gets it: then there is no recipient to account for. No retry
    /// helps.
    pub fn make(&self, payload: &EmailPayload, identity: Identity<'_>) -> Result<NewEmail, String> {
        let addressed = Addressed::read(payload)?;
        if let Some(fault) = stream_fault(payload.stream()) {
            return Err(format!("`stream`: {fault}"));
        }
        let from = match &payload.from {
            None => self.from.clone(),
            Some(from) => mailbox("`from`", from)?,
        };
        let message_id = identity
            .message_id
            .map_or_else(|| compose::message_id(identity.tenant, &identity.job.to_string(), &from), str::to_owned);
        let recipients = match &self.redirect {
            None => addressed.recipients(),
            Some(to) => vec![recipient(RecipientRole::To, to)],
        };
        let unsubscribe = self.unsubscribe_link(identity.tenant, payload, &recipients);
        let rendered = self.render(payload);
        let subject = rendered.as_ref().map(|rendered| rendered.subject.clone()).unwrap_or_default();
        let frame =
            Frame { from: &from, message_id: &message_id, date: identity.date, unsubscribe: unsubscribe.as_deref() };
        let content = rendered.and_then(|rendered| self.bytes(payload, &addressed, &rendered, &frame));
        Ok(NewEmail {
            job: identity.job,
            batch: None,
            stream: payload.stream().to_owned(),
            sender: self.sender(&from, &message_id)?.to_string(),
            template: payload.template.clone(),
            recipients,
            message_id,
            subject,
            content,
        })
    }

    fn bytes(
        &self,
        payload: &EmailPayload,
        addressed: &Addressed,
        rendered: &Rendered,
        frame: &Frame<'_>,
    ) -> Result<Vec<u8>, String> {
        let &Frame { from, message_id, date, unsubscribe } = frame;
        let attachments: Vec<Attachment> =
            payload.attachments.iter().map(|file| self.attachment(file)).collect::<Result<_, _>>()?;
        let headers: Vec<(String, String)> =
            payload.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let composed = compose::compose(&Draft {
            from,
            reply_to: &addressed.reply_to,
            to: &addressed.to,
            cc: &addressed.cc,
            bcc: &addressed.bcc,
            subject: &rendered.subject,
            text: Some(&rendered.text),
            html: rendered.html.as_deref(),
            headers: &headers,
            attachments: &attachments,
            unsubscribe,
            message_id,
            date,
        })?;
        let domain = from.email.domain();
        let signers: Vec<&Signer> =
            self.signers.iter().filter(|signer| signer.domain.eq_ignore_ascii_case(domain)).collect();
        if signers.is_empty() { Ok(composed.bytes) } else { sign(&composed.bytes, &signers, date) }
    }

    fn attachment(&self, file: &AttachmentPayload) -> Result<Attachment, String> {
        let shown: String = file.name.chars().filter(|c| !c.is_control()).take(100).collect();
        let data = match (&file.content, &file.file) {
            (Some(content), None) => STANDARD
                .decode(content)
                .map_err(|_| format!("the `content` of the attachment `{shown}` is no base64"))?,
            (None, Some(name)) => read(self.attachments.as_deref(), name)
                .map_err(|why| format!("the `file` of the attachment `{shown}`: {why}"))?,
            _ => return Err(format!("the attachment `{shown}` needs a `content` in base64, or a `file`")),
        };
        Ok(Attachment {
            name: file.name.clone(),
            content_type: file.content_type.clone(),
            data,
            content_id: file.content_id.clone(),
        })
    }
}

/// What signs addresses and links that come back, as `[mail]` says. `None` when it names no secret.
///
/// # Errors
///
/// When the secret cannot be read, or is too short: a text that names the key.
pub fn signing(settings: &MailSettings) -> Result<Option<Signed>, String> {
    let secret = secret::read("mail.secret", settings.secret_env.as_deref(), settings.secret_file.as_deref())?;
    secret
        .map(|secret| Signed::new(&secret).map_err(|why| format!("`mail.secret_env` or `mail.secret_file`: {why}")))
        .transpose()
}

fn signing_for(settings: &MailSettings, key: &str) -> Result<Signed, String> {
    let missing =
        || format!("`{key}` needs a secret that signs; name one with `mail.secret_env` or `mail.secret_file`");
    signing(settings)?.ok_or_else(missing)
}

fn returns(settings: &MailSettings) -> Result<Option<(Signed, Address)>, String> {
    let Some(address) = &settings.return_address else { return Ok(None) };
    let base = mailbox("`mail.return_address`", address)?.email;
    let signed = signing_for(settings, "mail.return_address")?;
    // Whether it leaves room is known now, and not at the first message.
    signed.return_address(&base, &"0".repeat(32)).map_err(|why| format!("`mail.return_address`: {why}"))?;
    Ok(Some((signed, base)))
}

fn unsubscribing(settings: &MailSettings) -> Result<Option<(Signed, String)>, String> {
    let Some(url) = &settings.unsubscribe_url else { return Ok(None) };
    let parsed = url::Url::parse(url).map_err(|error| format!("`mail.unsubscribe_url` is not a URL: {error}"))?;
    if !matches!(parsed.scheme(), "https" | "http") || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("`mail.unsubscribe_url` must be `https://HOST` or `https://HOST/PATH`".to_owned());
    }
    Ok(Some((signing_for(settings, "mail.unsubscribe_url")?, url.trim_end_matches('/').to_owned())))
}

/// Reads a file of the folder for attachments. A name that leads anywhere else is refused, also by a link.
fn read(folder: Option<&Path>, name: &str) -> Result<Vec<u8>, String> {
    let folder = folder.ok_or("there is no folder for them; name one with `mail.attachments`")?;
    let no = |why: &std::io::Error| format!("{name:?} cannot be read: {why}");
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(format!("{name:?} is not the name of a file in `mail.attachments`"));
    }
    let path = folder.join(name);
    let about = std::fs::symlink_metadata(&path).map_err(|why| no(&why))?;
    if !about.is_file() {
        return Err(format!("{name:?} is no plain file"));
    }
    let most = compose::ATTACHMENTS_BYTES_MAX;
    if about.len() > most as u64 {
        return Err(format!("{name:?} has {} bytes, and mail takes {most}; send a link instead", about.len()));
    }
    std::fs::read(&path).map_err(|why| no(&why))
}

fn signer(settings: &DkimSettings) -> Result<Signer, String> {
    let DkimSettings { domain, selector, key_file } = settings;
    let label = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !label(domain) || !label(selector) {
        return Err("`mail.dkim`: `domain` and `selector` are letters, digits, `.` and `-`".to_owned());
    }
    let pem = std::fs::read_to_string(key_file)
        .map_err(|error| format!("`mail.dkim.key_file`: {key_file} cannot be read: {error}"))?;
    let key = Key::from_pem(&pem).map_err(|why| format!("`mail.dkim.key_file`: {key_file}: {why}"))?;
    Ok(Signer { domain: domain.clone(), selector: selector.clone(), key })
}
