//! The OpenAPI document, made of the descriptions of the endpoints: what a handler's types say is what it says.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use gristmill_core::schema::{free, text};
use utoipa::ToSchema;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    ArrayBuilder, Components, ComponentsBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder};

use super::bare;
use crate::gate::describe::{BARE, Endpoint, JSON, Parameter as Described, Replies, Reply};
use crate::gate::{Access, ErrorCode, Fault, Open, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/openapi.json", "This document: OpenAPI 3.1, without an envelope", show)
}

/// A document as it is, without an envelope.
struct Raw(Bytes);

impl IntoResponse for Raw {
    fn into_response(self) -> Response {
        bare::written(self.0)
    }
}

impl Replies for Result<Raw> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: BARE, schema: free("an OpenAPI 3.1 document") });
    }
}

async fn show(_: Open) -> Result<Raw> {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| Bytes::from(document(&super::routes()).to_json().unwrap_or_default()));
    Ok(Raw(document.clone()))
}

/// The document of these endpoints.
pub(super) fn document(routes: &Routes) -> OpenApi {
    let (mut paths, mut components) = (PathsBuilder::new().build(), ComponentsBuilder::new());
    components = components.schema("Error", error()).schema_from::<Fault>();
    for endpoint in routes.endpoints() {
        for (name, schema) in &endpoint.schemas {
            components = components.schema(name.clone(), schema.clone());
        }
        add(&mut paths, endpoint);
    }
    let info = InfoBuilder::new().title("Gristmill").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(secured(components.build()))).build()
}

const ABOUT: &str = "Batches and background jobs. Every JSON answer is in an envelope; errors are `application/problem+json` \
where `Accept` asks for it. See docs/api.md.";

fn secured(mut components: Components) -> Components {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token or an access token"));
    components.add_security_scheme("token", SecurityScheme::Http(bearer.build()));
    let cookie = ApiKeyValue::with_description("__Host-gristmill", "The session of a person who has logged in");
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components
}

fn add(paths: &mut Paths, endpoint: &Endpoint) {
    let method = match endpoint.method {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    };
    paths.add_path_operation(&endpoint.path, vec![method], operation(endpoint));
}

fn operation(endpoint: &Endpoint) -> Operation {
    let needs = match endpoint.access {
        Access::Open => "For everybody.".to_owned(),
        Access::Recognized => "For every recognized caller.".to_owned(),
        Access::Permitted(permission) => format!("Needs `{permission}`."),
        Access::Installation(permission) => format!("Needs `{permission}` and an owner of the installation."),
    };
    let noun = endpoint
        .path
        .trim_start_matches("/api/v1/")
        .trim_start_matches("/.")
        .split(['/', '.'])
        .next()
        .unwrap_or_default();
    let mut operation = OperationBuilder::new()
        .operation_id(Some(endpoint.handler.replace("::", "_")))
        .tag(noun)
        .summary(Some(endpoint.about))
        .description(Some(needs));
    for parameter in parameters(endpoint) {
        operation = operation.parameter(parameter);
    }
    if let Some(first) = endpoint.bodies.first() {
        let mut body = RequestBodyBuilder::new().required(Some(required(!first.optional)));
        for shape in &endpoint.bodies {
            body = body.content(shape.media, ContentBuilder::new().schema(Some(shape.schema.clone())).build());
        }
        operation = operation.request_body(Some(body.build()));
    }
    // An answer may be of one type or another.
    let mut responses: BTreeMap<u16, ResponseBuilder> = BTreeMap::new();
    for reply in &endpoint.replies {
        let schema = if reply.media == JSON { envelope(reply.schema.clone()) } else { reply.schema.clone() };
        let media = if reply.media == BARE { JSON } else { reply.media };
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = responses.remove(&reply.status).unwrap_or_default().description(endpoint.about);
        responses.insert(reply.status, response.content(media, content));
    }
    for (status, response) in responses {
        operation = operation.response(status.to_string(), response.build());
    }
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    let failed = ResponseBuilder::new().description("What is wrong").content(JSON, content);
    operation = operation.response("default", failed.build());
    if endpoint.access == Access::Open {
        return operation.build();
    }
    let none: [&str; 0] = [];
    operation
        .security(SecurityRequirement::new("token", none))
        .security(SecurityRequirement::new("session", none))
        .build()
}

fn required(is: bool) -> Required {
    if is { Required::True } else { Required::False }
}

fn parameters(endpoint: &Endpoint) -> Vec<Parameter> {
    let names = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = names.zip(&endpoint.path_schemas).map(|(name, schema)| {
        let built = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
        built.schema(Some(schema.clone())).build()
    });
    let mut all: Vec<Parameter> = of_path.chain(endpoint.parameters.iter().map(of_query)).collect();
    let plain = |name: &str, place: ParameterIn, about: &str, example: &str| {
        let built = ParameterBuilder::new().name(name).parameter_in(place).required(Required::False);
        built.description(Some(about)).schema(Some(text(about, example))).build()
    };
    if endpoint.method == "GET" {
        let about = "Only these fields, separated by commas; a dot leads into an object";
        all.push(plain("fields", ParameterIn::Query, about, "id,state"));
    }
    if endpoint.method == "POST" {
        let about = "The request is carried out once, and answered again with the same for a day";
        all.push(plain("Idempotency-Key", ParameterIn::Header, about, "order-7"));
    }
    if endpoint.conditional {
        let about = "Only if it still is as the answer with this `ETag` has shown it";
        all.push(plain("If-Match", ParameterIn::Header, about, "W/\"v3\""));
    }
    if endpoint.ranged {
        let about = "Only these bytes: one range; of several the whole is sent";
        all.push(plain("Range", ParameterIn::Header, about, "bytes=1000-"));
        let about = "Only if it still has this `ETag`; otherwise the whole is sent";
        all.push(plain("If-Range", ParameterIn::Header, about, "\"9f86d081\""));
    }
    if endpoint.appends {
        let count = of_type(Type::Integer).minimum(Some(0));
        let built = ParameterBuilder::new().name("Upload-Offset").parameter_in(ParameterIn::Header);
        let built = built.required(Required::True).description(Some("How many bytes have come: these follow them"));
        all.push(built.schema(Some(count)).build());
        let last = of_type(Type::String).enum_values(Some(["?0", "?1"]));
        let built = ParameterBuilder::new().name("Upload-Complete").parameter_in(ParameterIn::Header);
        let built = built.required(Required::False).description(Some("`?1` when these are the last ones"));
        all.push(built.schema(Some(last)).build());
    }
    if endpoint.access != Access::Open {
        let about = "The tenant that is asked for; the caller's own unless said";
        all.push(plain("Gristmill-Tenant", ParameterIn::Header, about, "main"));
    }
    all
}

fn of_query(parameter: &Described) -> Parameter {
    let Described { name, about, schema, many } = parameter;
    let schema: RefOr<Schema> = match many {
        true => Schema::Array(ArrayBuilder::new().items(schema.clone()).build()).into(),
        false => schema.clone(),
    };
    let built = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query).required(Required::False);
    built.description(Some(*about)).schema(Some(schema)).build()
}

fn of_type(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind))
}

/// What is around each document.
fn envelope(data: RefOr<Schema>) -> RefOr<Schema> {
    let time = of_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let envelope = of_type(Type::Object)
        .property("success", of_type(Type::Boolean).enum_values(Some([true])))
        .property("data", data)
        .property("nextCursor", text("where the next page of a list begins, if there is one", "17"))
        .property("error", of_type(Type::Null))
        .property("timestamp", time)
        .property("requestId", text("the id of the request, as in `X-Request-Id`", "0198f9c1-7d2e"));
    let envelope = ["success", "data", "error", "timestamp", "requestId"]
        .iter()
        .fold(envelope, |envelope, name| envelope.required(*name));
    Schema::Object(envelope.build()).into()
}

/// An error in its envelope.
fn error() -> RefOr<Schema> {
    let time = of_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let faults = ArrayBuilder::new().items(Ref::from_schema_name(Fault::name()));
    let details = of_type(Type::Object)
        .property("retryable", of_type(Type::Boolean))
        .property("hint", text("what would be right", "name it in `[serve] hosts`"))
        .property("faults", faults)
        .property("quota", free("the quota that is used up: `tenant`, `quota`, `limit`, `used`, `wanted`"))
        .property("progress", free("how far a stream came"));
    let codes = ErrorCode::ALL.map(ErrorCode::as_str);
    let body = of_type(Type::Object)
        .property("code", of_type(Type::String).enum_values(Some(codes)))
        .property("message", text("what is wrong", "there is no job 7"))
        .property("details", details)
        .required("code")
        .required("message")
        .required("details");
    let error = of_type(Type::Object)
        .property("success", of_type(Type::Boolean).enum_values(Some([false])))
        .property("data", of_type(Type::Null))
        .property("error", body)
        .property("timestamp", time)
        .property("requestId", text("the id of the request, as in `X-Request-Id`", "0198f9c1-7d2e"));
    let error =
        ["success", "data", "error", "timestamp", "requestId"].iter().fold(error, |error, name| error.required(*name));
    Schema::Object(error.build()).into()
}
