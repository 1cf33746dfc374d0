//! The program itself: its version, its settings, its database.

use gristmill_service::documents::{
    DatabaseSizeDocument, MigrationsDocument, ReconcileDocument, SettingDocument, VersionDocument,
};

use crate::gate::{Answer, Change, Open, Outcome, Overseer, Params, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/version", "The version of the program", version)
        .get("/api/v1/system/settings", "Every setting in force, with its origin and without secrets", settings)
        .get("/api/v1/system/size", "How large the database is, and what was deleted so far", size)
        .get("/api/v1/system/migrations", "Which migrations are applied and which are known", migrations)
        .post_slowly("/api/v1/system/reconcile", "Compare every counter with what it counts, and repair it", reconcile)
}

async fn settings(caller: Overseer<perm::SystemRead>) -> Outcome<Vec<SettingDocument>> {
    Ok(Answer::new(caller.api().program().settings()))
}

async fn size(caller: Overseer<perm::SystemRead>) -> Outcome<DatabaseSizeDocument> {
    let store = caller.store();
    Ok(Answer::new(DatabaseSizeDocument::new(store.describe(), store.size().await?, store.pruned().await?)))
}

async fn migrations(caller: Overseer<perm::SystemRead>) -> Outcome<MigrationsDocument> {
    Ok(Answer::new(caller.whole_store().migrations().await?))
}

async fn reconcile(
    caller: Overseer<perm::SystemControl>,
    Params(change): Params<Change>,
) -> Outcome<ReconcileDocument> {
    let report = caller.service().reconcile(&caller.order(&change)).await?;
    Ok(Answer::new(ReconcileDocument::new(change.dry_run, &report)))
}

async fn version(_: Open) -> Outcome<VersionDocument> {
    let (name, version) = ("gristmill".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Ok(Answer::new(VersionDocument { name, version }))
}
