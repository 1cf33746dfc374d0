//! Tenants, for owners of the installation: list, create, suspend, resume.

use gristmill_core::access::{Permission, Subject};
use gristmill_service::accounts::AccountError;
use gristmill_store::StoreError;
use gristmill_store::accounts::{Quotas, TenantState, TenantView};
use maud::{Markup, html};

use crate::gate::text::encoded;
use crate::gate::{Caller, Overseer, Paging, Params, Path, Result, Routes, perm};
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::copies;
use crate::pages::parts::field::{other_faults, required};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::count;
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::state::{Tone, state};
use crate::pages::parts::table::{Row, actions, column, numbers, row, table, wide};
use crate::pages::parts::time;
use crate::pages::view::{Head, View};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/tenants", "Every tenant, by name", list)
        .post("/tenants", "Create a tenant, which you own", create)
        .post("/tenants/{tenant}/suspend", "Refuse the members and tokens of a tenant; its work goes on", suspend)
        .post("/tenants/{tenant}/resume", "Let a tenant be used again", resume)
}

async fn list(caller: Overseer<perm::UsersRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    page(&caller, &view, &paging, &Form::default()).await
}

async fn page(caller: &Caller, view: &View, paging: &Paging, form: &Form) -> Result<Page> {
    let tenants = view.read(caller.store().tenant_list(&paging.0)).await?;
    let next = paging.next(&tenants, |tenant| tenant.name.clone());
    let columns = [column("Tenant"), column("State"), numbers("Members"), column("Created"), wide("Why"), actions()];
    let changes = caller.may(Permission::TenantChange);
    let main = html! {
        (head("Tenants", "Organisations that cannot see each other.", Markup::default()))
        (panel("tenants", "Tenants, by name", html! {
            (table("list", "Tenants", &columns, tenants.iter().map(|tenant| one(tenant, changes, caller.tenant()))))
            (pager(view, tenants.len(), next.as_deref()))
        }))
        @if changes {
            (panel("new", "New tenant", html! {
                form method="post" action="/tenants" class="stack" {
                    (other_faults(form))
                    (required("name", "Name", "1 to 100 characters. You own it").show(form))
                    button class="primary" { "Create" }
                }
            }))
        }
        (copies("gristmill tenant list", "/api/v1/tenants"))
    };
    Ok(view.page(caller, Head::new("Tenants", "/tenants"), main))
}

fn one(tenant: &TenantView, changes: bool, own: &str) -> Row {
    let shown = match tenant.state {
        TenantState::Active => state(Icon::Done, "active", Tone::Good),
        TenantState::Suspended => state(Icon::Paused, "suspended", Tone::Careful),
    };
    let cells = [
        html! { (tenant.name) @if tenant.name == own { " " span class="badge" { "this one" } } },
        shown,
        count(tenant.members),
        time::instant(tenant.created_at),
        html! {
            @if let Some(at) = tenant.suspended_at { "since " (time::instant(at)) }
            @if let Some(reason) = &tenant.reason { ": " (reason) }
        },
        if changes && tenant.name != own { switch(tenant) } else { Markup::default() },
    ];
    row(tenant.name.clone(), cells)
}

fn switch(tenant: &TenantView) -> Markup {
    let to = |verb: &str| format!("/tenants/{}/{verb}", encoded(&tenant.name));
    match tenant.state {
        TenantState::Active => {
            let about = "Its members and tokens are refused at once. Its work goes on.";
            Action::typed(format!("suspend-{}", tenant.name), to("suspend"), "Suspend", about, tenant.name.clone())
                .form()
        }
        TenantState::Suspended => {
            Action::confirmed(format!("resume-{}", tenant.name), to("resume"), "Resume", "It may be used again.").form()
        }
    }
}

async fn create(
    caller: Overseer<perm::TenantChange>,
    view: View,
    Params(paging): Params<Paging>,
    mut form: Form,
) -> Result<Sent> {
    let (name, change) = (form.required::<String>("name"), form.change());
    if let (Some(name), Ok(())) = (name, form.finish()) {
        let owner = match caller.principal.subject {
            Subject::User(user) | Subject::Token { user, .. } => Some(user),
            Subject::Anyone => None,
        };
        let order = caller.order(&change);
        match caller.api().accounts().create_tenant(&order, &name, Quotas::default(), owner).await {
            Ok(made) => {
                let flash = Flash::done(format!("The tenant {} is there.", made.name));
                return Ok(Sent::Done(Redirect::to("/tenants").saying(flash)));
            }
            Err(AccountError::Store(StoreError::Conflict(why) | StoreError::Invalid(why))) => {
                form.fault("name", format!("is refused: {why}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sent::Again(Box::new(page(&caller, &view, &paging, &form).await?.refused())))
}

async fn suspend(caller: Overseer<perm::TenantChange>, Path(tenant): Path<String>, mut form: Form) -> Result<Redirect> {
    form.confirm(&tenant);
    let change = form.change();
    form.finish()?;
    caller.api().accounts().suspend_tenant(&caller.order(&change), &tenant).await?;
    Ok(Redirect::to("/tenants").saying(Flash::done(format!("{tenant} is suspended; its work goes on."))))
}

async fn resume(caller: Overseer<perm::TenantChange>, Path(tenant): Path<String>, mut form: Form) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    caller.api().accounts().resume_tenant(&caller.order(&change), &tenant).await?;
    Ok(Redirect::to("/tenants").saying(Flash::done(format!("{tenant} may be used again."))))
}
