//! The schemas of types: what does not fit them is not published, and every fault is named at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use gristmill_core::event::schema::incompatibilities;
use gristmill_jobs::stage::validate::Validate;
use gristmill_store::{EventSchemaView, Events, Publication, Result, StoreError};

/// The most faults that are named of one event.
const FAULTS_MAX: usize = 50;

/// Refuses events whose data does not fit the schema of their type and version. A type without a schema takes any data.
///
/// # Errors
///
/// [`StoreError::Invalid`] with every fault of every event; store errors.
pub async fn check(store: &dyn Events, events: &[Publication]) -> Result<()> {
    let mut schemas: BTreeMap<(&str, &str), Vec<EventSchemaView>> = BTreeMap::new();
    let mut compiled: BTreeMap<(&str, &str, u32), Validate> = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let (tenant, kind) = (event.tenant.as_str(), event.draft.kind.as_str());
        let known = match schemas.entry((tenant, kind)) {
            Entry::Occupied(known) => &*known.into_mut(),
            Entry::Vacant(unasked) => &*unasked.insert(store.event_schemas(tenant, Some(kind)).await?),
        };
        let Some(schema) = chosen(known, event.draft.version) else {
            if !known.is_empty() {
                faults.push(format!("event {}: {}", index + 1, unknown(event, known)));
            }
            continue;
        };
        let validate = match compiled.entry((tenant, kind, schema.version)) {
            Entry::Occupied(made) => &*made.into_mut(),
            Entry::Vacant(unmade) => {
                let made = Validate::compile(&schema.schema);
                &*unmade.insert(made.map_err(|error| StoreError::Database(format!("a schema: {error}")))?)
            }
        };
        let found = validate.problems(&event.draft.data, FAULTS_MAX);
        let version = schema.version;
        faults.extend(found.into_iter().map(|fault| format!("event {}: `{kind}` {version}: {fault}", index + 1)));
    }
    if faults.is_empty() { Ok(()) } else { Err(StoreError::Invalid(faults.join("; "))) }
}

fn chosen(known: &[EventSchemaView], version: Option<u32>) -> Option<&EventSchemaView> {
    match version {
        Some(version) => known.iter().find(|schema| schema.version == version),
        None => known.last(),
    }
}

fn unknown(event: &Publication, known: &[EventSchemaView]) -> String {
    let versions: Vec<String> = known.iter().map(|schema| schema.version.to_string()).collect();
    let asked = event.draft.version.unwrap_or_default();
    format!("there is no version {asked} of `{}` in the registry; it has {}", event.draft.kind, versions.join(", "))
}

/// What keeps a schema from becoming a version of a type: it is none, or takes less than the version before it, or more
/// than the version behind it.
///
/// # Errors
///
/// All of it, in words.
pub fn check_version(
    known: &[EventSchemaView],
    version: u32,
    schema: &serde_json::Value,
    compatible: bool,
) -> std::result::Result<(), String> {
    Validate::compile(schema).map_err(|error| format!("the schema: {error}"))?;
    if !compatible || known.iter().any(|one| one.version == version) {
        return Ok(());
    }
    let mut faults = Vec::new();
    if let Some(before) = known.iter().rev().find(|one| one.version < version) {
        let found = incompatibilities(&before.schema, schema);
        faults.extend(found.into_iter().map(|fault| format!("against version {}: {fault}", before.version)));
    }
    if let Some(behind) = known.iter().find(|one| one.version > version) {
        let found = incompatibilities(schema, &behind.schema);
        faults.extend(found.into_iter().map(|fault| format!("version {} against it: {fault}", behind.version)));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("the version is not compatible: {}", faults.join("; ")))
}
