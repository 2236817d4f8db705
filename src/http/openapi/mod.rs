//! What the three listeners answer, as one OpenAPI document. It is written beside the routers, from their own constants, and
//! held against them by tests: a route that is missing here, or here alone, fails the build.
//!
//! Public like the metadata: it says what may be asked, and nothing about anybody.

mod answers;
mod bodies;
mod links;
mod operations;
mod shapes;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bytes::Bytes;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

/// Where it is served: on the callers' listeners and on the admin one.
pub(super) const PATH: &str = "/openapi.json";

/// The document as it is served and committed: `docs/reference/openapi.json`.
pub fn text() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut text = document().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text.into()
    });
    TEXT.clone()
}

fn document() -> OpenApi {
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        SecurityScheme::Http(scheme)
    };
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            "caller",
            bearer("A caller's token, over TCP; on the Unix socket the peer's uid says who asks"),
        )
        .security_scheme("admin", bearer("A token of the admin listener; no caller's opens anything there"))
        .response("Problem", operations::problem());
    for (name, schema) in bodies::all().into_iter().chain(answers::all()) {
        components = components.schema(name, schema);
    }
    let mut paths = PathsBuilder::new();
    let operations = operations::all();
    for operation in &operations {
        paths = paths.path(operation.path, operation.item(&operations));
    }
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Chaperone")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Allow or deny with reasons, recorded before it is answered. Each tag is a listener of its own.",
        ))
        .license(Some(license))
        .build();
    let tag = |name: &str, description: &str| TagBuilder::new().name(name).description(Some(description)).build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components.build()))
        .tags(Some([
            tag("callers", "The applications that ask: a Unix socket, and TCP when configured"),
            tag("admin", "Administrators and operators"),
            tag("health", "Probes and metrics"),
        ]))
        .build()
}
