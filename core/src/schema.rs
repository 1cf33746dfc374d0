//! What schemas are made of: of words, texts, ids. They are for the OpenAPI document.

/// What derived schemas are made of; a type that implements it has a schema, alone and in lists.
pub use utoipa::__dev::ComposeSchema;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
pub use utoipa::openapi::{RefOr, Schema};
pub use utoipa::{PartialSchema, ToSchema};

/// The schema of a text that is one of these words.
pub fn words<const N: usize>(words: [&'static str; N]) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(words));
    RefOr::T(Schema::Object(object.build()))
}

/// The schema of a text of a form that is described in words.
pub fn text(about: &str, example: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).description(Some(about));
    RefOr::T(Schema::Object(object.examples([example]).build()))
}

/// The schema of an object whose form is described elsewhere.
pub fn free(about: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::Object)).description(Some(about));
    RefOr::T(Schema::Object(object.build()))
}

/// The schema of a UUID.
pub fn id() -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
    RefOr::T(Schema::Object(object.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).build()))
}
