//! Who calls, as the first argument of a handler: its type says which permission is needed.

use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gristmill_core::access::{Permission, Principal, Subject};
use gristmill_service::{Actor, Order, Service};
use gristmill_store::StoreHandle;

use super::describe::{Access, Admission, Argument, Endpoint};
use super::error::{ApiError, ErrorCode, Result};
use super::idempotency::Keyed;
use super::info::RequestInfo;
use super::query::Change;
use super::state::Api;

/// A permission as a type.
pub trait Needs: Send + Sync + 'static {
    /// Which.
    const PERMISSION: Permission;
}

/// The permissions as types.
pub mod perm {
    use gristmill_core::access::Permission;

    macro_rules! permissions {
        ($($name:ident),* $(,)?) => {
            $(
                #[doc = concat!("[`Permission::", stringify!($name), "`].")]
                #[derive(Debug, Clone, Copy)]
                pub struct $name;

                impl super::Needs for $name {
                    const PERMISSION: Permission = Permission::$name;
                }
            )*
        };
    }

    permissions!(
        JobsRead,
        JobsEnqueue,
        JobsControl,
        JobsDelete,
        ContentsRead,
        BatchesRead,
        BatchesStart,
        BatchesControl,
        BatchesDelete,
        QuarantineRead,
        QuarantineMend,
        QueuesRead,
        QueuesControl,
        QueuesDelete,
        LimitsRead,
        LimitsChange,
        SchedulesRead,
        SchedulesControl,
        SchedulesChange,
        WorkersRead,
        WorkersControl,
        PoisonRead,
        PoisonControl,
        OperationsRead,
        OperationsControl,
        DefinitionsRead,
        SystemRead,
        SystemControl,
        UsersRead,
        UsersChange,
        TenantChange,
        AuditRead,
        EmailsRead,
        EmailsControl,
        EventsRead,
        EventsPublish,
        EventsControl,
        EventsChange,
    );
}

/// Who calls, and what is done with it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// What is known of the request.
    pub info: RequestInfo,
    api: Api,
    /// Over the rows of the caller's tenant alone, unless what it asks for concerns all of them.
    service: Service,
    key: Option<Keyed>,
}

impl Caller {
    /// The key under which what the request creates is created once, whatever becomes of its answer.
    pub fn idempotency_key(&self) -> Option<String> {
        self.key.as_ref().map(|Keyed(key)| format!("http/{}/{}", key.caller, key.key))
    }

    /// What all endpoints share.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The verbs.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The store, for views.
    pub fn store(&self) -> &StoreHandle {
        self.service.store()
    }

    /// The store for what is no tenant's: the processes, the limits, the caller's own sessions. The handler says which
    /// rows the caller may see.
    pub fn whole_store(&self) -> &StoreHandle {
        self.api.service().store()
    }

    /// The store for the rows of a tenant that the caller was allowed to name, such as the installation's own.
    pub fn store_of(&self, tenant: &str) -> &StoreHandle {
        if tenant == self.tenant() { self.store() } else { self.whole_store() }
    }

    /// The tenant that is asked for.
    pub fn tenant(&self) -> &str {
        &self.principal.tenant
    }

    /// Whether the caller may also do that.
    pub fn may(&self, permission: Permission) -> bool {
        self.principal.may(permission)
    }

    /// The order for a change.
    pub fn order(&self, change: &Change) -> Order {
        let info = &self.info;
        let order = Order::of(&self.principal, Some(info.address.to_string()), Some(info.id.clone()));
        let order = Order { reason: change.reason.clone(), ..order.rehearsed(change.dry_run) };
        match self.principal.subject {
            Subject::Anyone => Order { actor: unknown(info), ..order },
            Subject::User(_) | Subject::Token { .. } => order,
        }
    }
}

/// The actor of a request of which only the address is known.
pub fn unknown(info: &RequestInfo) -> Actor {
    Actor::Caller(Subject::Anyone, format!("anyone@{}", info.address))
}

/// Checks whether a caller may use an endpoint. `None` is an unknown caller.
///
/// # Errors
///
/// 401 without a caller, 403 without the permission.
pub fn authorize(access: Access, caller: Option<&Principal>) -> Result<()> {
    if access == Access::Open {
        return Ok(());
    }
    let Some(caller) = caller else {
        return Err(ApiError::new(ErrorCode::Unauthenticated, "no caller is logged in"));
    };
    let (permission, everywhere) = match access {
        Access::Open | Access::Recognized => return Ok(()),
        Access::Permitted(permission) => (permission, false),
        Access::Installation(permission) => (permission, true),
    };
    if !caller.may(permission) {
        let scoped = caller.role.allows(permission);
        let lacks =
            if scoped { "its token is limited to other scopes".to_owned() } else { format!("it is {}", caller.role) };
        let message = format!("the caller may not do that: {lacks}; `{permission}` is needed");
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    if everywhere && !caller.installation {
        let message = "this concerns every tenant, so that only an owner of the installation may do it";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    Ok(())
}

fn of(parts: &Parts, api: &Api, access: Access) -> Result<Caller> {
    let principal = parts.extensions.get::<Principal>();
    authorize(access, principal)?;
    let outside = || ApiError::internal("a handler is not behind the gate");
    let info = parts.extensions.get::<RequestInfo>().cloned().ok_or_else(outside)?;
    let principal = principal.cloned().ok_or_else(outside)?;
    let key = parts.extensions.get::<Keyed>().cloned();
    let service = match access {
        Access::Installation(_) => api.service().clone(),
        Access::Open | Access::Recognized | Access::Permitted(_) => api.service().confined(&principal.tenant),
    };
    Ok(Caller { principal, info, api: api.clone(), service, key })
}

macro_rules! admission {
    ($(#[$about:meta])* $name:ident, $access:ident) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub struct $name<P>(Caller, PhantomData<P>);

        impl<P> Deref for $name<P> {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl<P: Needs> FromRequestParts<Api> for $name<P> {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
                of(parts, api, Access::$access(P::PERMISSION)).map(|caller| Self(caller, PhantomData))
            }
        }

        impl<P: Needs> Argument for $name<P> {
            fn describe(endpoint: &mut Endpoint) {
                endpoint.access = Access::$access(P::PERMISSION);
            }
        }

        impl<P: Needs> Admission for $name<P> {}
    };
}

admission!(
    /// A caller with a permission in the tenant that it asks for.
    Allowed,
    Permitted
);
admission!(
    /// A caller with a permission who owns the installation: for what concerns all tenants.
    Overseer,
    Installation
);

/// Any recognized caller.
#[derive(Debug, Clone)]
pub struct Recognized(Caller);

impl Deref for Recognized {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl FromRequestParts<Api> for Recognized {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
        of(parts, api, Access::Recognized).map(Self)
    }
}

impl Argument for Recognized {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.access = Access::Recognized;
    }
}

impl Admission for Recognized {}

/// Everybody, recognized or not.
#[derive(Debug, Clone)]
pub struct Open {
    /// What is known of the request.
    pub info: RequestInfo,
    /// What all endpoints share.
    pub api: Api,
}

impl FromRequestParts<Api> for Open {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
        let outside = || ApiError::internal("a handler is not behind the gate");
        let info = parts.extensions.get::<RequestInfo>().cloned().ok_or_else(outside)?;
        Ok(Self { info, api: api.clone() })
    }
}

impl Argument for Open {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.access = Access::Open;
    }
}

impl Admission for Open {}

#[cfg(test)]
mod tests {
    use gristmill_core::access::Role;

    use super::*;

    fn principal(role: Role, scopes: Option<Vec<Permission>>, installation: bool) -> Principal {
        let (name, tenant) = ("ada".to_owned(), "main".to_owned());
        Principal { subject: Subject::Anyone, name, tenant, role, scopes, installation }
    }

    #[test]
    fn an_unknown_caller_is_401_and_somebody_without_the_permission_403() {
        let viewer = principal(Role::Viewer, None, false);
        let scoped = principal(Role::Owner, Some(vec![Permission::JobsRead]), true);
        let status = |access, caller: Option<&Principal>| authorize(access, caller).err().map(|error| error.code);
        let cancel = Access::Permitted(Permission::JobsControl);
        assert_eq!(status(cancel, None), Some(ErrorCode::Unauthenticated));
        assert_eq!(status(cancel, Some(&viewer)), Some(ErrorCode::Forbidden));
        assert_eq!(status(cancel, Some(&scoped)), Some(ErrorCode::Forbidden));
        assert_eq!(status(Access::Permitted(Permission::JobsRead), Some(&scoped)), None);
        assert_eq!(status(Access::Recognized, Some(&viewer)), None);
        assert_eq!(status(Access::Open, None), None);
    }

    #[test]
    fn what_concerns_all_tenants_is_for_owners_of_the_installation() {
        let access = Access::Installation(Permission::LimitsChange);
        authorize(access, Some(&principal(Role::Owner, None, false))).expect_err("an owner of a tenant");
        authorize(access, Some(&principal(Role::Owner, None, true))).expect("an owner of the installation");
        authorize(access, Some(&principal(Role::Viewer, None, true))).expect_err("not by role");
    }
}
