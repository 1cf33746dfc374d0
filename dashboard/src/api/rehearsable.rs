//! What a change answers: what it did, or what it would do.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What was done, or what would be at a dry run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Rehearsable<D, W> {
    /// What was done.
    Done(D),
    /// What would be.
    Would(W),
}

impl<D: ToSchema, W: ToSchema> PartialSchema for Rehearsable<D, W> {
    fn schema() -> RefOr<Schema> {
        let one = OneOfBuilder::new().item(Ref::from_schema_name(D::name())).item(Ref::from_schema_name(W::name()));
        RefOr::T(Schema::OneOf(one.build()))
    }
}

impl<D: ToSchema, W: ToSchema> ToSchema for Rehearsable<D, W> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}Or{}", D::name(), W::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in [(D::name(), D::schema()), (W::name(), W::schema())] {
            schemas.push((name.into_owned(), schema));
        }
        D::schemas(schemas);
        W::schemas(schemas);
    }
}
