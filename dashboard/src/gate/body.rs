//! The JSON body of a request: read exactly, and described by the same code, all faults at once.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use gristmill_core::json;
use gristmill_core::unfit;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};

use super::describe::{Argument, BodyShape, Endpoint, JSON, Schemas, schema_of};
use super::error::{ApiError, ErrorCode, Fault, Result};
use super::limits;
use super::state::Api;

/// What a handler reads of an object.
pub trait Fields: Sized + Send {
    /// Its name among the schemas.
    const NAME: &'static str;

    /// One that is accepted, as JSON: shown in the description, and tried by a test.
    const EXAMPLE: &'static str;

    /// Reads it. Whatever is asked for is described as well; `None` when something that is needed is missing or wrong,
    /// which is among the faults then.
    fn read(object: &mut Object) -> Option<Self>;
}

/// An object that is read field by field; or, when nothing was sent yet, the list of what is read of it.
#[derive(Debug, Default)]
pub struct Object {
    given: Map<String, Value>,
    faults: Vec<Fault>,
    asked: Vec<(&'static str, RefOr<Schema>, bool)>,
    schemas: Schemas,
    describes: bool,
}

impl Object {
    fn of(given: Map<String, Value>) -> Self {
        Self { given, ..Self::default() }
    }

    /// A field that must be there.
    pub fn required<T: DeserializeOwned + ToSchema>(&mut self, name: &'static str, about: &str) -> Option<T> {
        let value = self.take(name, about, true, schema_of::<T>);
        if value.is_none() && !self.describes {
            self.fault(name, "is missing");
        }
        value.and_then(|value| self.typed(name, value))
    }

    /// A field that may be missing, or null.
    pub fn optional<T: DeserializeOwned + ToSchema>(&mut self, name: &'static str, about: &str) -> Option<T> {
        let value = self.take(name, about, false, schema_of::<T>)?;
        self.typed(name, value)
    }

    /// A field of any form; null when it is missing.
    pub fn any(&mut self, name: &'static str, about: &str) -> Value {
        self.take(name, about, false, schema_of::<Value>).unwrap_or_default()
    }

    /// Something is wrong with a field.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(pointer(name), message));
    }

    fn take(
        &mut self,
        name: &'static str,
        about: &str,
        required: bool,
        schema: fn(&mut Schemas) -> RefOr<Schema>,
    ) -> Option<Value> {
        if self.describes {
            let schema = described(schema(&mut self.schemas), about);
            self.asked.push((name, schema, required));
        } else {
            self.asked.push((name, RefOr::T(utoipa::openapi::schema::empty()), required));
        }
        self.given.shift_remove(name).filter(|value| !value.is_null())
    }

    fn typed<T: DeserializeOwned>(&mut self, name: &str, value: Value) -> Option<T> {
        match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(read) => Some(read),
            Err(error) => {
                let mut path = pointer(name);
                for segment in error.path().iter() {
                    match segment {
                        serde_path_to_error::Segment::Seq { index } => path.push_str(&pointer(&index.to_string())),
                        serde_path_to_error::Segment::Map { key } => path.push_str(&pointer(key)),
                        _ => {}
                    }
                }
                self.faults.push(Fault::new(path, unfit::plain(&error.inner().to_string())));
                None
            }
        }
    }

    /// Everything that is wrong with it, what is not read included.
    fn faults(mut self) -> Vec<Fault> {
        let known: Vec<&str> = self.asked.iter().map(|(name, ..)| *name).collect();
        for name in self.given.keys() {
            if !known.contains(&name.as_str()) {
                let message = format!("is no field here: there are {}", known.join(", "));
                self.faults.push(Fault::new(pointer(name), message));
            }
        }
        self.faults
    }
}

/// A step of a JSON pointer (RFC 6901).
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A schema with a sentence about its use.
fn described(schema: RefOr<Schema>, about: &str) -> RefOr<Schema> {
    match schema {
        RefOr::Ref(mut reference) => {
            about.clone_into(&mut reference.description);
            RefOr::Ref(reference)
        }
        RefOr::T(Schema::Object(mut object)) => {
            object.description = Some(about.to_owned());
            RefOr::T(Schema::Object(object))
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = Some(about.to_owned());
            RefOr::T(Schema::Array(array))
        }
        other => other,
    }
}

/// Reads an object, with everything that is wrong with it at once.
///
/// # Errors
///
/// 422.
pub fn read<T: Fields>(value: Value) -> Result<T> {
    let Value::Object(given) = value else {
        return Err(ApiError::fault("", format!("is {}, not an object", json::kind_of(&value))));
    };
    let mut object = Object::of(given);
    let read = T::read(&mut object);
    let faults = object.faults();
    match read.filter(|_| faults.is_empty()) {
        Some(read) => Ok(read),
        None if faults.is_empty() => Err(ApiError::internal(format!("`{}` was refused without a fault", T::NAME))),
        None => Err(ApiError::invalid(faults)),
    }
}

/// The schema of an object that is read field by field: a reference to its name.
pub fn schema<T: Fields>(schemas: &mut Schemas) -> RefOr<Schema> {
    let mut object = Object { describes: true, ..Object::default() };
    T::read(&mut object);
    let mut builder = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for (name, schema, required) in object.asked {
        builder = builder.property(name, schema);
        if required {
            builder = builder.required(name);
        }
    }
    if let Ok(example) = serde_json::from_str::<Value>(T::EXAMPLE) {
        builder = builder.examples([example]);
    }
    schemas.append(&mut object.schemas);
    schemas.push((T::NAME.to_owned(), RefOr::T(Schema::Object(builder.build()))));
    RefOr::Ref(utoipa::openapi::Ref::from_schema_name(T::NAME))
}

/// A JSON body.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonBody<T>(pub T);

impl<T: Fields> FromRequest<Api> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        check_media(request.headers(), &[JSON])?;
        let most = api.settings().body_bytes_max;
        let bytes = limits::whole(request.into_body(), most, api.stall()).await?;
        read(value(&bytes)?).map(Self)
    }
}

impl<T: Fields> Argument for JsonBody<T> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = schema::<T>(&mut endpoint.schemas);
        endpoint.bodies.push(BodyShape { media: JSON, schema, optional: false });
    }
}

/// Reads bytes as JSON. A payload stands one level deep in its request.
///
/// # Errors
///
/// 400 with the place.
pub fn value(bytes: &[u8]) -> Result<Value> {
    json::read_around(bytes, 1).map_err(|error| {
        ApiError::new(ErrorCode::BadRequest, format!("the body is not JSON that can be kept: {error}"))
    })
}

/// Checks that a body is of one of these types, and returns which.
///
/// # Errors
///
/// 415 with those that are read.
pub fn check_media(headers: &HeaderMap, known: &[&'static str]) -> Result<&'static str> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media, rest) = said.split_once(';').unwrap_or((said, ""));
    let charset = rest.split(';').find_map(|part| part.trim().strip_prefix("charset="));
    let readable = charset.is_none_or(|charset| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    let found = known.iter().find(|known| known.eq_ignore_ascii_case(media.trim()) && readable);
    found.copied().ok_or_else(|| {
        let said = if said.is_empty() { "no `Content-Type`".to_owned() } else { format!("`{said}`") };
        let message = format!("the body has {said}; here is read: {}", known.join(", "));
        ApiError::new(ErrorCode::UnsupportedMedia, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Wish {
        name: String,
        counts: Vec<u32>,
        note: Value,
    }

    impl Fields for Wish {
        const NAME: &'static str = "Wish";
        const EXAMPLE: &'static str = r#"{"name": "a"}"#;

        fn read(object: &mut Object) -> Option<Self> {
            let name = object.required("name", "Its name");
            let counts = object.optional("counts", "How many").unwrap_or_default();
            let note = object.any("note", "Anything");
            Some(Self { name: name?, counts, note })
        }
    }

    #[test]
    fn an_object_is_read_field_by_field() {
        let wish: Wish = read(json!({ "name": "a", "counts": [1, 2], "note": { "x": null } })).expect("read");
        assert_eq!(wish, Wish { name: "a".to_owned(), counts: vec![1, 2], note: json!({ "x": null }) });
    }

    #[test]
    fn every_fault_is_said_at_once_with_its_path() {
        let error = read::<Wish>(json!({ "counts": [1, -2], "nmae": "a", "a/b": 1 })).expect_err("wrong");
        let paths: Vec<&str> = error.faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["/name", "/counts/1", "/nmae", "/a~1b"]);
        let error = read::<Wish>(json!([1])).expect_err("no object");
        assert!(error.message.contains("is an array, not an object"), "{}", error.message);
    }

    #[test]
    fn what_is_read_is_described() {
        let mut schemas = Schemas::new();
        schema::<Wish>(&mut schemas);
        let (name, schema) = schemas.pop().expect("a schema");
        let shown = serde_json::to_value(&schema).expect("JSON");
        assert_eq!((name.as_str(), &shown["required"]), ("Wish", &json!(["name"])));
        assert_eq!(shown["properties"]["counts"]["type"], "array");
        assert_eq!(shown["additionalProperties"], false);
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        let check = |text: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().expect("a value"))]);
            check_media(&headers, &[JSON])
        };
        for text in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
            check(text).expect(text);
        }
        for text in ["", "text/plain", "application/json; charset=latin1", "application/jsonx"] {
            assert_eq!(check(text).expect_err(text).code, ErrorCode::UnsupportedMedia);
        }
    }
}
