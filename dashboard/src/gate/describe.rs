//! What an endpoint is, by the types of its handler: who may call it, what it reads, what it answers.
//!
//! The description is made once, by the same code that reads requests: the OpenAPI document, the check of unknown
//! parameters and the tests that walk all endpoints use it, so that none of them can say anything else than what is done.

use gristmill_core::access::Permission;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Schemas by their names, as they are gathered.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody, recognized or not.
    #[default]
    Open,
    /// Every recognized caller.
    Recognized,
    /// Callers with a permission in their tenant.
    Permitted(Permission),
    /// Callers with a permission who own the installation: it concerns all tenants.
    Installation(Permission),
}

/// How long an endpoint may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// As long as the settings say.
    #[default]
    Usual,
    /// As long as its body or its answer goes on, or as its caller has asked it to wait.
    Streams,
}

/// A parameter of a query.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
    /// Its values.
    pub schema: RefOr<Schema>,
    /// Whether it may be repeated.
    pub many: bool,
}

/// What a body may be.
#[derive(Debug, Clone)]
pub struct BodyShape {
    /// The type of its content.
    pub media: &'static str,
    /// What it looks like.
    pub schema: RefOr<Schema>,
    /// Whether it may be missing.
    pub optional: bool,
}

/// An answer that is no error.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// The type of its content: in an envelope when that is JSON.
    pub media: &'static str,
    /// What its document looks like.
    pub schema: RefOr<Schema>,
}

/// JSON.
pub const JSON: &str = "application/json";

/// JSON without an envelope, as a description tells it from others; it is sent as [`JSON`].
pub const BARE: &str = "application/json; envelope=none";

/// One JSON document a line.
pub const NDJSON: &str = "application/x-ndjson";

/// A page for people.
pub const HTML: &str = "text/html; charset=utf-8";

/// An endpoint.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// `GET` and so on.
    pub method: &'static str,
    /// Its path, with `{names}` for its variable parts.
    pub path: String,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// The path of its handler in the code, such as `jobs::list`.
    pub handler: &'static str,
    /// Who may call it.
    pub access: Access,
    /// How long it may take.
    pub pace: Pace,
    /// Whether its body or its answer holds a secret: nothing of it is kept, not even under an `Idempotency-Key`.
    pub secret: bool,
    /// The schemas of the variable parts of its path, in their order.
    pub path_schemas: Vec<RefOr<Schema>>,
    /// Whether it heeds `If-Match`.
    pub conditional: bool,
    /// Whether it heeds `Range`.
    pub ranged: bool,
    /// Whether it heeds `Upload-Offset`, which it needs, and `Upload-Complete`.
    pub appends: bool,
    /// What its query may hold.
    pub parameters: Vec<Parameter>,
    /// Whether another program may put further values into it, which are not read.
    pub others: bool,
    /// What its body may be: one of these.
    pub bodies: Vec<BodyShape>,
    /// Its answers that are no errors.
    pub replies: Vec<Reply>,
    /// Every schema that these refer to.
    pub schemas: Schemas,
}

impl Endpoint {
    /// The schema of a type: a reference to its name, which is gathered.
    pub fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        schema_of::<T>(&mut self.schemas)
    }

    /// Whether it answers people, with a page: so do its errors then.
    pub fn is_page(&self) -> bool {
        self.replies.iter().any(|reply| reply.media == HTML)
    }

    /// Whether its query may have a parameter of that name.
    pub fn knows(&self, name: &str) -> bool {
        let common: &[&str] = if self.method == "GET" { &["fields"] } else { &[] };
        self.others || common.contains(&name) || self.parameters.iter().any(|parameter| parameter.name == name)
    }
}

/// The schema of a type as a part of another one: inline for plain values and lists, else a reference to its name.
pub fn schema_of<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let schema = T::schema();
    let is_document = matches!(&schema, RefOr::T(Schema::Object(object)) if !object.properties.is_empty())
        || matches!(&schema, RefOr::T(Schema::OneOf(_) | Schema::AllOf(_) | Schema::AnyOf(_)));
    if !is_document {
        return schema;
    }
    let name = T::name().into_owned();
    schemas.push((name.clone(), schema));
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
}

/// The schema of a plain value.
pub fn plain<T: PartialSchema>() -> RefOr<Schema> {
    T::schema()
}

/// An argument of a handler.
pub trait Argument {
    /// Says what it reads.
    fn describe(endpoint: &mut Endpoint);
}

/// The first argument of a handler: who may call it.
pub trait Admission: Argument {}

/// What a handler gives back.
pub trait Replies {
    /// Says what that is.
    fn describe(endpoint: &mut Endpoint);
}

/// A handler whose types say what it is. Its first argument says who may call it: without one it is no handler here.
pub trait Described<Arguments> {
    /// Says what it is.
    fn describe(endpoint: &mut Endpoint);
}

macro_rules! described {
    ($($argument:ident),*) => {
        impl<F, Fut, R, Who, $($argument),*> Described<(Who, $($argument,)*)> for F
        where
            F: Fn(Who, $($argument),*) -> Fut,
            Fut: Future<Output = R>,
            Who: Admission,
            R: Replies,
            $($argument: Argument,)*
        {
            fn describe(endpoint: &mut Endpoint) {
                Who::describe(endpoint);
                $($argument::describe(endpoint);)*
                R::describe(endpoint);
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
