//! Errors as pages: what is wrong, and where to go from there. Who is not recognized is sent to log in.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gristmill_core::access::Principal;
use maud::{Markup, html};

use super::answer::{Redirect, local};
use super::parts::prose::prose;
use super::view::View;
use crate::gate::text::encoded;
use crate::gate::{Api, ApiError, ErrorCode};

/// Gives the refusals of pages their own page. Those of the API are not touched: they have none left to give.
pub async fn dress(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (view, method) = (View::of(&parts), parts.method.clone());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let caller = response.extensions_mut().remove::<Principal>();
    let answer = answer(&api, &view, &method, caller.as_ref(), &error);
    around(response, answer)
}

fn answer(api: &Api, view: &View, method: &Method, caller: Option<&Principal>, error: &ApiError) -> Response {
    if error.code == ErrorCode::Unauthenticated && !view.is_fragment() {
        let back = if method.is_safe() { local(view.address()) } else { "/" };
        return Redirect::to(format!("/login?next={}", encoded(back))).into_response();
    }
    let page = view.error(api, caller, error.code.title(), shown(error));
    page.status(error.code.status()).into_response()
}

fn shown(error: &ApiError) -> Markup {
    html! {
        div class="refusal" {
            p class="refusal-code" { (error.code.status().as_u16()) }
            h1 { (error.code.title()) }
            p { (prose(&error.message)) }
            @if let Some(hint) = &error.hint { p class="muted" { (prose(hint)) } }
            @if error.faults.len() > 1 {
                ul { @for fault in &error.faults { li { code { (fault.path) } " " (prose(&fault.message)) } } }
            }
            @if error.code.is_retryable() { p { "It may work in a moment." } }
            p { a class="button" href="/" { "To the overview" } }
        }
    }
}

/// A page with what the answer said in its head besides: the id of the request, when to come again.
fn around(refused: Response, page: Response) -> Response {
    let (head, _) = refused.into_parts();
    let (mut own, body) = page.into_parts();
    for (name, value) in &head.headers {
        own.headers.entry(name).or_insert_with(|| value.clone());
    }
    if own.status == StatusCode::SEE_OTHER {
        own.headers.remove(axum::http::header::WWW_AUTHENTICATE);
    }
    Response::from_parts(own, body)
}
