//! Users, tenants, members, tokens, sessions, links.

use gristmill_core::access::{Permission, Principal, Role, Subject};
use gristmill_core::id::{TokenId, UserId};
use gristmill_service::accounts::{CreatedToken, IssuedTokens, Secret};
use gristmill_service::documents::{
    BegunLinkDocument, CreatedTokenDocument, InvitationDocument, IssuedTokensDocument, JsonWebKeysDocument,
    KeyDocument, LinkDocument, LoginLinkDocument, MeDocument, MemberDocument, OfferedFactorDocument, OpenLinkDocument,
    RecoveryCodesDocument, SecondFactorDocument, SessionDocument, TenantDocument, TenantInUseDocument, TokenDocument,
    UserDocument,
};
use gristmill_store::TenantUsage;
use gristmill_store::accounts::{LinkPurpose, MembershipView, Quotas, SessionKind, TenantState, UserState};

use super::{Sample, at, id, sample};

fn users() -> Vec<Sample> {
    let full = UserDocument {
        id: id(1),
        email: "ada@example.com".to_owned(),
        name: "Ada Lovelace".to_owned(),
        state: UserState::Active,
        has_password: true,
        installation: true,
        memberships: vec![MembershipView { tenant: "main".to_owned(), role: Role::Owner }],
        created_at: at(0),
        last_login_at: Some(at(1)),
    };
    let minimal = UserDocument {
        state: UserState::Disabled,
        has_password: false,
        installation: false,
        memberships: Vec::new(),
        last_login_at: None,
        ..full.clone()
    };
    let member = MemberDocument {
        user: id(1),
        email: "ada@example.com".to_owned(),
        name: "Ada Lovelace".to_owned(),
        role: Role::Operator,
        state: UserState::Active,
        since: at(0),
        last_login_at: Some(at(1)),
    };
    let new = MemberDocument { last_login_at: None, ..member.clone() };
    vec![sample("UserDocument", full, minimal), sample("MemberDocument", member, new)]
}

fn tenants() -> Vec<Sample> {
    let full = TenantDocument {
        name: "north".to_owned(),
        state: TenantState::Suspended,
        reason: Some("contract ended".to_owned()),
        quotas: Quotas {
            jobs_waiting: Some(1_000),
            batches_active: Some(10),
            requests_per_minute: Some(600),
            storage_bytes: Some(10_000_000_000),
        },
        members: 3,
        created_at: at(0),
        suspended_at: Some(at(1)),
    };
    let minimal = TenantDocument {
        state: TenantState::Active,
        reason: None,
        quotas: Quotas::default(),
        members: 0,
        suspended_at: None,
        ..full.clone()
    };
    let in_use = |tenant: &TenantDocument, usage| TenantInUseDocument { tenant: tenant.clone(), usage };
    let usage = TenantUsage { jobs_waiting: 998, batches_active: 2, storage_bytes: 4_096 };
    let samples = (in_use(&full, usage), in_use(&minimal, TenantUsage::default()));
    vec![sample("TenantDocument", full, minimal), sample("TenantInUseDocument", samples.0, samples.1)]
}

fn tokens() -> Vec<Sample> {
    let full = TokenDocument {
        id: id(2),
        name: "nightly".to_owned(),
        prefix: "gm_Ab3dEf9h".to_owned(),
        tenant: "main".to_owned(),
        user: id(1),
        email: "ada@example.com".to_owned(),
        scopes: Some(vec![Permission::JobsEnqueue]),
        created_at: at(0),
        expires_at: Some(at(1)),
        last_used_at: Some(at(2)),
    };
    let minimal = TokenDocument { scopes: None, expires_at: None, last_used_at: None, ..full.clone() };
    let created = |token: &TokenDocument| {
        let secret = Secret::new("gm_Ab3dEf9h_the_rest");
        CreatedTokenDocument::from(CreatedToken { token: token.clone(), secret })
    };
    let made = sample("CreatedTokenDocument", created(&minimal), created(&minimal));
    vec![sample("TokenDocument", full, minimal), made]
}

fn sessions() -> Vec<Sample> {
    let full = SessionDocument {
        id: id(3),
        user: id(1),
        kind: SessionKind::Browser,
        address: Some("192.0.2.1".to_owned()),
        agent: Some("Mozilla/5.0".to_owned()),
        created_at: at(0),
        last_seen_at: at(1),
        expires_at: at(2),
    };
    let minimal = SessionDocument { kind: SessionKind::Tokens, address: None, agent: None, ..full.clone() };
    let issued = |session: &SessionDocument| {
        let (access, refresh) = (Secret::new("eyJhbGciOi.eyJpc3MiOi.c2lnbmF0dXJl"), Secret::new("gmr_the_rest"));
        IssuedTokensDocument::from(IssuedTokens { session: session.clone(), access, refresh })
    };
    let tokens = sample("IssuedTokensDocument", issued(&minimal), issued(&minimal));
    vec![sample("SessionDocument", full, minimal), tokens]
}

fn keys() -> Vec<Sample> {
    let full = KeyDocument {
        id: id(5),
        public: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".to_owned(),
        signs: false,
        created_at: at(0),
        ends_at: Some(at(1)),
    };
    let minimal = KeyDocument { signs: true, ends_at: None, ..full.clone() };
    let set = JsonWebKeysDocument::from(vec![full.clone()]);
    vec![sample("KeyDocument", full, minimal), sample("JsonWebKeysDocument", &set, &set)]
}

fn links() -> Vec<Sample> {
    let invitation = InvitationDocument {
        id: id(4),
        email: "bob@example.com".to_owned(),
        tenant: "main".to_owned(),
        role: Role::Viewer,
        by: Some("ada@example.com".to_owned()),
        created_at: at(0),
        expires_at: at(1),
    };
    let unsigned = InvitationDocument { by: None, ..invitation.clone() };
    let open = OpenLinkDocument {
        purpose: LinkPurpose::Invite,
        email: Some("bob@example.com".to_owned()),
        tenant: Some("main".to_owned()),
        role: Some(Role::Viewer),
        has_account: false,
        expires_at: at(1),
    };
    let first =
        OpenLinkDocument { purpose: LinkPurpose::FirstOwner, email: None, tenant: None, role: None, ..open.clone() };
    let link = LinkDocument {
        email: Some("ada@example.com".to_owned()),
        url: "https://jobs.example.com/link#gml_secret".to_owned(),
        secret: "gml_secret".to_owned(),
    };
    let nobodys = LinkDocument { email: None, ..link.clone() };
    vec![
        sample("InvitationDocument", invitation, unsigned),
        sample("OpenLinkDocument", open, first),
        sample("LinkDocument", link, nobodys),
    ]
}

fn factors() -> Vec<Sample> {
    let factor = |enrolled, recovery_left| SecondFactorDocument { enrolled, recovery_left };
    let offered = OfferedFactorDocument {
        secret: "GEZDGNBVGY3TQOJQ".to_owned(),
        uri: "otpauth://totp/Gristmill:ada%40example.com?secret=GEZDGNBVGY3TQOJQ&issuer=Gristmill".to_owned(),
    };
    let codes = |codes| RecoveryCodesDocument { codes };
    vec![
        sample("SecondFactorDocument", factor(true, 10), factor(false, 0)),
        sample("OfferedFactorDocument", offered.clone(), offered),
        sample("RecoveryCodesDocument", codes(vec!["k3jd-9x2a-77qm-p4zz".to_owned()]), codes(Vec::new())),
    ]
}

fn logins() -> Vec<Sample> {
    let login = LoginLinkDocument {
        provider: Some("company".to_owned()),
        title: Some("Company".to_owned()),
        issuer: "https://login.example.com".to_owned(),
        subject: "248289761001".to_owned(),
        linked_at: at(0),
        last_login_at: at(1),
    };
    let unknown = LoginLinkDocument { provider: None, title: None, ..login.clone() };
    let begun = BegunLinkDocument { location: "https://login.example.com/authorize?response_type=code".to_owned() };
    vec![sample("LoginLinkDocument", login, unknown), sample("BegunLinkDocument", begun.clone(), begun)]
}

fn me() -> Sample {
    let program = Principal {
        subject: Subject::Token { token: TokenId(id::<UserId>(2).0), user: id(1) },
        name: "nightly of ada@example.com".to_owned(),
        tenant: "main".to_owned(),
        role: Role::Owner,
        scopes: Some(vec![Permission::JobsRead, Permission::JobsEnqueue]),
        installation: false,
    };
    let anyone = Principal {
        subject: Subject::Anyone,
        name: "anyone".to_owned(),
        scopes: Some(Vec::new()),
        installation: true,
        ..program.clone()
    };
    sample("MeDocument", MeDocument::from(&program), MeDocument::from(&anyone))
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = users();
    samples.extend(tenants());
    samples.extend(tokens());
    samples.extend(sessions());
    samples.extend(keys());
    samples.extend(links());
    samples.push(me());
    samples.extend(logins());
    samples.extend(factors());
    samples
}
