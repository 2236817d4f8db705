//! Each call: its listener, its query, its body, what it answers, and what refuses it.

use utoipa::openapi::{
    Content, ContentBuilder, HttpMethod, ObjectBuilder, PathItem, Ref, Required, ResponseBuilder, Type,
    link::Link,
    path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
    request_body::RequestBodyBuilder,
    response::Response,
    security::SecurityRequirement,
};

use super::{
    links,
    shapes::{Shape, from_to, instant, named, one_of, text, word},
};
use crate::{
    admin::page::PAGE_MAX,
    audit::query::{PAGE_MAX as RECORDS_MAX, Query, WORD_BYTES_MAX},
};

/// Who answers, and what opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// For everybody.
    Public,
    Callers,
    /// With the token of the listener alone.
    Operators,
    /// A person behind it, whom the policies judge.
    Administrators,
    Health,
}

use Listener::{Administrators, Callers, Health, Operators, Public};

/// What comes with a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// It reads.
    None,
    /// `Idempotency-Key` may be said.
    May,
    /// It must.
    Must,
}

/// One call.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    listener: Listener,
    does: &'static str,
    query: Vec<(&'static str, Required, Shape)>,
    body: Option<(&'static str, Required)>,
    answers: (&'static str, Answers),
    key: Key,
}

#[derive(Clone, Copy, Debug)]
enum Answers {
    Json(&'static str),
    Text(&'static [&'static str]),
}

pub(super) fn all() -> Vec<Operation> {
    let mut all = callers();
    all.extend(administrators());
    all.extend(operators());
    all
}

fn get(listener: Listener, path: &'static str, does: &'static str, answers: &'static str) -> Operation {
    let answers = ("200", Answers::Json(answers));
    Operation { method: "GET", path, listener, does, query: Vec::new(), body: None, answers, key: Key::None }
}

fn post(listener: Listener, path: &'static str, does: &'static str, answers: &'static str) -> Operation {
    Operation { method: "POST", ..get(listener, path, does, answers) }
}

fn plain(path: &'static str, does: &'static str) -> Operation {
    let answers = ("200", Answers::Text(&["text/plain"]));
    Operation { answers, ..get(Health, path, does, "") }
}

impl Operation {
    fn asks(self, body: &'static str) -> Self {
        Self { body: Some((body, Required::True)), ..self }
    }

    fn may_ask(self, body: &'static str) -> Self {
        Self { body: Some((body, Required::False)), ..self }
    }

    fn created(self) -> Self {
        Self { answers: ("201", self.answers.1), ..self }
    }

    fn key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    fn with(mut self, query: impl IntoIterator<Item = (&'static str, Shape)>) -> Self {
        self.query.extend(query.into_iter().map(|(name, shape)| (name, Required::False, shape)));
        self
    }

    fn of_client(mut self) -> Self {
        self.query.push(("client", Required::True, word()));
        self
    }

    /// The words of a page.
    fn paged(self) -> Self {
        let most = i32::try_from(PAGE_MAX).unwrap_or(i32::MAX);
        self.with([("limit", from_to(1, most)), ("cursor", text()), ("state", text())])
    }
}

fn callers() -> Vec<Operation> {
    vec![
        get(Public, "/.well-known/authzen-configuration", "Says where to ask (AuthZEN §9)", "Metadata"),
        get(Public, super::PATH, "This document", "Document"),
        post(Callers, "/access/v1/evaluation", "Decides one question", "Decision").asks("Question"),
        post(Callers, "/access/v1/evaluations", "Decides a batch", "Decisions").asks("Questions"),
        post(Callers, "/access/v1/outcome", "Says what became of a decision", "OutcomeTaken").asks("Outcome"),
        post(Callers, "/demo/v1/clock", "Moves the clock, in a demo alone", "Clock").asks("Clock"),
        post(Callers, "/grants/v1/emergency", "Asks for emergency access to one client", "Grant")
            .asks("AskGrant")
            .created()
            .key(Key::May),
        post(Callers, "/grants/v1/after-the-fact", "Enters what was done while nothing could be asked", "Grant")
            .asks("EnterGrant")
            .created()
            .key(Key::May),
        get(Callers, "/grants/v1/{id}", "Shows a grant as it stands", "Grant"),
        post(Callers, "/grants/v1/{id}/extend", "Lets a grant run longer, once", "Grant")
            .asks("ExtendGrant")
            .key(Key::May),
        post(Callers, "/grants/v1/{id}/end", "Gives access back", "Grant").may_ask("End").key(Key::May),
    ]
}

fn administrators() -> Vec<Operation> {
    let read = |path, does, answers| get(Administrators, path, does, answers);
    let list = |path, does, answers| get(Administrators, path, does, answers).paged();
    let change = |path, does, answers| post(Administrators, path, does, answers).key(Key::Must);
    vec![
        list("/admin/v1/assignments", "Lists who works with whom", "Assignments")
            .with([("user", text()), ("client", text())]),
        change("/admin/v1/assignments", "Assigns a person to a client", "Assignment").asks("AskAssignment").created(),
        read("/admin/v1/assignments/{id}", "Shows an assignment", "Assignment"),
        change("/admin/v1/assignments/{id}/window", "Moves its window", "Assignment").asks("MoveWindow"),
        change("/admin/v1/assignments/{id}/end", "Ends it at once", "Assignment").may_ask("EndAssignment"),
        list("/admin/v1/restrictions", "Lists the restrictions of a client", "Restrictions").of_client(),
        change("/admin/v1/restrictions", "Enters what a client asks for", "Restriction")
            .asks("AskRestriction")
            .created(),
        read("/admin/v1/restrictions/{id}", "Shows a restriction", "Restriction"),
        change("/admin/v1/restrictions/{id}/agree", "Agrees: in force from its start", "Restriction")
            .may_ask("Nothing"),
        change("/admin/v1/restrictions/{id}/decline", "Declines it", "Restriction").may_ask("Nothing"),
        change("/admin/v1/restrictions/{id}/terminate", "Ends it", "Restriction").asks("EndRestriction"),
        list("/admin/v1/consents", "Lists the consents of a client", "Consents").of_client(),
        change("/admin/v1/consents", "Enters a signed consent", "Consent").asks("EnterConsent").created(),
        read("/admin/v1/consents/{id}", "Shows a consent", "Consent"),
        change("/admin/v1/consents/{id}/revoke", "Revokes it", "Consent").may_ask("Nothing"),
        list("/admin/v1/tickets", "Lists the support tickets", "Tickets").with([("engineer", text())]),
        change("/admin/v1/tickets", "Opens a ticket for an engineer", "Ticket").asks("OpenTicket").created(),
        read("/admin/v1/tickets/{id}", "Shows a ticket", "Ticket"),
        change("/admin/v1/tickets/{id}/scope", "Names another record in it", "Ticket").asks("ScopedRecord"),
        change("/admin/v1/tickets/{id}/release", "Lets a record go that is kept from support", "Ticket")
            .asks("NamedRecord"),
        change("/admin/v1/tickets/{id}/resolve", "Closes it at once", "Ticket").may_ask("Nothing"),
        change("/admin/v1/tickets/{id}/reopen", "Opens it again", "Ticket").may_ask("Nothing"),
        list("/admin/v1/users/{id}/standing", "Lists the suspensions of a person", "Suspensions"),
        change("/admin/v1/users/{id}/standing", "Suspends a person, or reinstates them", "Suspension")
            .asks("SetStanding"),
        list("/admin/v1/grants", "Lists the grants, newest first", "Grants")
            .with([("user", text()), ("client", text())]),
        read("/admin/v1/grants/{id}", "Shows a grant", "Grant"),
        change("/admin/v1/grants/{id}/approve", "Approves one that waits", "Grant").may_ask("Nothing"),
        change("/admin/v1/grants/{id}/reject", "Rejects one that waits", "Grant").may_ask("Nothing"),
        change("/admin/v1/grants/{id}/revoke", "Takes it away", "Grant").may_ask("Nothing"),
        list("/admin/v1/reviews", "Lists the reviews, those due first", "Reviews"),
        read("/admin/v1/reviews/{id}", "Shows a review, with what the holder wrote when asking", "Review"),
        change("/admin/v1/reviews/{id}/take", "Takes it to look at", "Review").may_ask("Nothing"),
        change("/admin/v1/reviews/{id}/ask", "Asks the holder for more", "Review").may_ask("Nothing"),
        change("/admin/v1/reviews/{id}/answered", "The holder answered", "Review").may_ask("Nothing"),
        change("/admin/v1/reviews/{id}/decide", "Closes it", "Review").asks("DecideReview"),
    ]
}

fn operators() -> Vec<Operation> {
    let filters = || {
        Query::WORDS.map(|word| {
            let shape = match word {
                "from" | "to" => instant(),
                "decision" => one_of(["allow", "deny"]),
                _ => super::shapes::filter(WORD_BYTES_MAX),
            };
            (word, shape)
        })
    };
    let most = i32::try_from(RECORDS_MAX).unwrap_or(i32::MAX);
    let pages = [("limit", from_to(1, most)), ("cursor", text())];
    let export = get(Administrators, "/admin/v1/audit/export", "Exports records, in pieces", "");
    vec![
        get(Operators, "/admin/v1/status", "Says how the sidecar is", "Status"),
        post(
            Operators,
            "/admin/v1/barrier",
            "Waits until a revocation is in force here, or on every sidecar",
            "Barrier",
        )
        .may_ask("AskBarrier"),
        get(Administrators, "/admin/v1/decisions", "Finds records of the trail", "Records").with(filters()).with(pages),
        Operation { answers: ("200", Answers::Text(&EXPORTS)), ..export }
            .with(filters())
            .with([("format", one_of(["jsonl", "csv", "ocsf", "fhir"]))]),
        plain("/livez", "Whether the process answers"),
        plain("/readyz", "Whether it can decide, and what is missing").with([("verbose", text())]),
        plain("/startupz", "Whether it has started"),
        plain("/metrics", "The metrics in Prometheus' text format"),
    ]
}

/// The one shape of refusals.
pub(super) fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(named("Problem"))).build();
    ResponseBuilder::new().description("Why not (RFC 9457)").content("application/problem+json", content).build()
}

impl Operation {
    pub(super) fn item(&self, all: &[Self]) -> PathItem {
        let method = if self.method == "GET" { HttpMethod::Get } else { HttpMethod::Post };
        let mut operation = OperationBuilder::new()
            .tag(self.listener.tag())
            .summary(Some(self.does))
            .operation_id(Some(self.id()))
            .parameters(Some(self.parameters()));
        if let Some((body, required)) = &self.body {
            let json = Content::new(Some(named(body)));
            let body =
                RequestBodyBuilder::new().content("application/json", json).required(Some(required.clone())).build();
            operation = operation.request_body(Some(body));
        }
        if let Some(scheme) = self.listener.scheme() {
            operation = operation.security(SecurityRequirement::new(scheme, [] as [&str; 0]));
        }
        let (status, answers) = self.answers;
        operation = operation.response(status, answers.response(self.does, links::of(self, all)));
        for status in self.refusals() {
            operation = operation.response(status, Ref::from_response_name("Problem"));
        }
        PathItem::new(method, operation)
    }

    /// `post_admin_v1_grants_id_approve`.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.fold(self.method.to_ascii_lowercase(), |id, word| format!("{id}_{word}"))
    }

    /// The schema of its answer.
    pub(super) const fn answer(&self) -> Option<&'static str> {
        match self.answers.1 {
            Answers::Json(schema) => Some(schema),
            Answers::Text(_) => None,
        }
    }

    /// Whether its path names one thing.
    pub(super) fn is_about_one(&self) -> bool {
        self.path.contains("{id}")
    }

    /// Whether the same credentials open the other one.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.listener == other.listener
    }

    fn refusals(&self) -> Vec<&'static str> {
        let mut refusals = match self.listener {
            Health => return if self.path == "/readyz" { vec!["503"] } else { Vec::new() },
            Public => vec!["403"],
            Callers | Operators => vec!["401", "403", "503"],
            Administrators => vec!["400", "401", "403", "503"],
        };
        if self.body.is_some() {
            refusals.extend(["400", "408", "413"]);
        }
        if self.is_about_one() || self.path.starts_with("/demo/") || self.path.ends_with("/outcome") {
            refusals.push("404");
        }
        if self.key != Key::None {
            refusals.extend(["400", "404", "409", "412", "422"]);
        }
        if self.listener == Callers {
            refusals.push("400");
        }
        refusals.push("405");
        refusals.push("500");
        refusals.sort_unstable();
        refusals.dedup();
        refusals
    }

    fn parameters(&self) -> Vec<Parameter> {
        let header = |name: &'static str, required, shape, about: &'static str| {
            parameter(name, ParameterIn::Header, required, shape, about)
        };
        let mut parameters = Vec::new();
        if self.is_about_one() {
            parameters.push(parameter("id", ParameterIn::Path, Required::True, word(), "By its id"));
        }
        for (name, required, shape) in &self.query {
            parameters.push(parameter(name, ParameterIn::Query, required.clone(), shape.clone(), ""));
        }
        if self.listener == Administrators {
            let about = "Who the administrator is, where the listener is `asserted`";
            parameters.push(header("Chaperone-Principal", Required::True, patterned("^[!-~]{1,256}$"), about));
            let about = "Their session, as `mfa=true, age_seconds=60, idle_seconds=5, tenant=T1`; also `mfa_age_seconds`, `device_managed`";
            parameters.push(header("Chaperone-Session", Required::True, patterned(SESSION), about));
        }
        if self.key != Key::None {
            let required = if self.key == Key::Must { Required::True } else { Required::False };
            let about = "Makes a repeated call harmless, for a day";
            parameters.push(header("Idempotency-Key", required, patterned("^[!-~]{1,255}$"), about));
            let about = "The `ETag` of the answer that the change rests on";
            parameters.push(header("If-Match", Required::False, patterned(r#"^(\*|"[!#-~]*")$"#), about));
        }
        parameters
    }
}

const EXPORTS: [&str; 3] = ["application/x-ndjson", "text/csv", "application/fhir+ndjson"];

const SESSION: &str = "^((mfa|device_managed)=(true|false)|(age|idle|mfa_age)_seconds=[0-9]{1,9}|tenant=[!-+\\--~]{1,64})(, ?((mfa|device_managed)\
     =(true|false)|(age|idle|mfa_age)_seconds=[0-9]{1,9}|tenant=[!-+\\--~]{1,64}))*$";

fn patterned(pattern: &str) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
}

fn parameter(name: &str, place: ParameterIn, required: Required, shape: Shape, about: &str) -> Parameter {
    let about = Some(about).filter(|about| !about.is_empty());
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .schema(Some(shape))
        .description(about)
        .build()
}

impl Answers {
    fn response(self, does: &str, links: Vec<(String, Link)>) -> Response {
        let mut response = ResponseBuilder::new().description(does);
        for (name, link) in links {
            response = response.link(name, link);
        }
        match self {
            Self::Json(schema) => {
                response = response.content("application/json", Content::new(Some(named(schema))));
            }
            Self::Text(kinds) => {
                for kind in kinds {
                    response = response.content(*kind, Content::new(Some(text())));
                }
            }
        }
        response.build()
    }
}

impl Listener {
    const fn tag(self) -> &'static str {
        match self {
            Public | Callers => "callers",
            Operators | Administrators => "admin",
            Health => "health",
        }
    }

    const fn scheme(self) -> Option<&'static str> {
        match self {
            Public | Health => None,
            Callers => Some("caller"),
            Operators | Administrators => Some("admin"),
        }
    }
}
