//! Tenants: list, show, create, suspend, resume, quotas. For owners of the installation; members see their own.

use gristmill_core::access::Subject;
use gristmill_service::documents::{TenantDocument, TenantInUseDocument};
use gristmill_store::accounts::Quotas;

use crate::api::uploads;
use crate::gate::query::Paging;
use crate::gate::{
    Answer, Api, ApiError, Change, Creation, Fields, JsonBody, Made, Object, Outcome, Overseer, Params, Path,
    Recognized, Routes, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/tenants", "Every tenant, by name", list)
        .post("/api/v1/tenants", "Create a tenant, which you own", create)
        .get("/api/v1/tenant", "The tenant that you ask for, its quotas and what it uses of them", show_own)
        .get("/api/v1/tenants/{tenant}", "A tenant, its quotas and what it uses of them", show)
        .put("/api/v1/tenants/{tenant}/quotas", "Set what a tenant may have at most", set_quotas)
        .post(
            "/api/v1/tenants/{tenant}/suspend",
            "Refuse the members and tokens of a tenant; its work goes on",
            suspend,
        )
        .post("/api/v1/tenants/{tenant}/resume", "Let a tenant be used again", resume)
}

async fn list(caller: Overseer<perm::UsersRead>, Params(paging): Params<Paging>) -> Outcome<Vec<TenantDocument>> {
    let tenants = caller.store().tenant_list(&paging.0).await?;
    let next = paging.next(&tenants, |tenant| tenant.name.clone());
    Ok(Answer::page(tenants, next))
}

async fn show_own(caller: Recognized) -> Outcome<TenantInUseDocument> {
    in_use(caller.api(), caller.tenant()).await
}

async fn show(caller: Overseer<perm::UsersRead>, Path(tenant): Path<String>) -> Outcome<TenantInUseDocument> {
    in_use(caller.api(), &tenant).await
}

/// With the uploads at this server.
async fn in_use(api: &Api, tenant: &str) -> Outcome<TenantInUseDocument> {
    let mut found = api.accounts().tenant_in_use(tenant).await?;
    found.usage.storage_bytes += uploads::stored(api, tenant).await?;
    Ok(Answer::new(found))
}

/// Quotas: what is missing or null is not limited.
#[derive(Debug)]
struct QuotasBody(Quotas);

impl Fields for QuotasBody {
    const NAME: &'static str = "QuotasRequest";
    const EXAMPLE: &'static str = r#"{"jobs_waiting": 100000, "requests_per_minute": 6000}"#;

    fn read(object: &mut Object) -> Option<Self> {
        Some(Self(Quotas {
            jobs_waiting: object.optional("jobs_waiting", "Jobs that have not ended"),
            batches_active: object.optional("batches_active", "Batches that have not ended"),
            requests_per_minute: object.optional("requests_per_minute", "Requests to the API in a minute"),
            storage_bytes: object.optional("storage_bytes", "Bytes of copies of inputs, and of uploads"),
        }))
    }
}

async fn set_quotas(
    caller: Overseer<perm::TenantChange>,
    Path(tenant): Path<String>,
    Params(change): Params<Change>,
    JsonBody(QuotasBody(quotas)): JsonBody<QuotasBody>,
) -> Outcome<TenantDocument> {
    let order = caller.order(&change);
    Ok(Answer::new(caller.api().accounts().set_quotas(&order, &tenant, quotas, None).await?))
}

/// A tenant that is asked for.
#[derive(Debug)]
struct TenantBody {
    name: String,
    quotas: Quotas,
}

impl Fields for TenantBody {
    const NAME: &'static str = "TenantRequest";
    const EXAMPLE: &'static str = r#"{"name": "north"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let name = object.required("name", "Its name: 1 to 100 characters");
        let quotas = object.optional("quotas", "What it may have at most").unwrap_or_default();
        Some(Self { name: name?, quotas })
    }
}

async fn create(
    caller: Overseer<perm::TenantChange>,
    Params(change): Params<Change>,
    JsonBody(TenantBody { name, quotas }): JsonBody<TenantBody>,
) -> Creation<TenantDocument> {
    let owner = match caller.principal.subject {
        Subject::User(user) | Subject::Token { user, .. } => Some(user),
        Subject::Anyone => None,
    };
    let order = caller.order(&change);
    Ok(Made::new(caller.api().accounts().create_tenant(&order, &name, quotas, owner).await?))
}

async fn suspend(
    caller: Overseer<perm::TenantChange>,
    Path(tenant): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<TenantDocument> {
    if tenant == caller.tenant() {
        // The request that resumes it would be refused, too.
        return Err(ApiError::conflict(format!("`{tenant}` is the tenant that you ask as"))
            .hint("name another one of yours in `Gristmill-Tenant`, or use `gristmill tenant suspend`"));
    }
    Ok(Answer::new(caller.api().accounts().suspend_tenant(&caller.order(&change), &tenant).await?))
}

async fn resume(
    caller: Overseer<perm::TenantChange>,
    Path(tenant): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<TenantDocument> {
    Ok(Answer::new(caller.api().accounts().resume_tenant(&caller.order(&change), &tenant).await?))
}
