//! Asking for a grant, and entering afterwards what was done while nothing could be asked.
//!
//! The policies have said who may; here are the rest of docs/domain.md §4.3, in its order: the reason and what it needs,
//! the text, the groups, and no second active grant.

use std::sync::Arc;

use futures_util::future::join;
use serde_json::{Map, Value as Json};

use super::{GrantView, rows, view};
use crate::{
    admin::{
        Actor, Admin, Change, Moment, Permitted, Plea, Told,
        change::About,
        error::AdminError,
        notices::{Notices, Told as Noticed, Urgency},
        reviews::{self, Findings},
    },
    domain::{
        Reason, RecordKind, Timestamp,
        grant::{Alert, Asked, Grant, GrantReason, GrantRules, History, Need, Recipient, alerts, is_a_reason, opened},
        record::FieldsRecord,
        review::Review,
    },
    store::Transaction,
};

/// A request for a grant, read and typed.
#[derive(Clone, Debug)]
pub struct AskGrant {
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub reason_code: Arc<str>,
    pub justification: Arc<str>,
    pub fields: Option<Vec<String>>,
    pub duration_seconds: Option<i64>,
    pub recipient: Option<Recipient>,
    /// Set where it is entered afterwards: when it was.
    pub occurred: Option<Occurred>,
}

/// A stretch of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurred {
    pub from: Timestamp,
    pub to: Timestamp,
}

struct Asking<'a> {
    asked: &'a AskGrant,
    rules: Arc<GrantRules>,
    reason: GrantReason,
    findings: Findings,
    ids: [Arc<str>; 3],
    notices: Option<Arc<Notices>>,
}

impl Admin {
    /// Asks for a grant and, if all allow it, makes it: in force for the next decision.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; a refusal carries its reason code.
    pub async fn ask_for_grant(
        &self,
        actor: &Actor,
        asked: &AskGrant,
        once: Option<&super::super::Once>,
    ) -> Result<super::super::Done<GrantView>, AdminError> {
        let rules = self.grant_rules()?;
        let reason = rules.reasons.get(&asked.reason_code).cloned().ok_or_else(|| AdminError::Malformed {
            path: "/reason_code",
            expected: format!("must be one of {}", words(rules.reasons.keys())),
        })?;
        let action = if asked.occurred.is_some() { "grant:after_the_fact" } else { &*rules.action };
        let plea = Plea::on(action, "Client", &asked.client).saying("reason_code", &asked.reason_code);
        let permitted = self.ask_to_change(actor, plea).await?;
        let store = self.store()?;
        // The note waits for the disk, what is found for a processor: somebody is waiting for both.
        let (intent, findings) = join(self.begin(store), self.findings(actor, &asked.client)).await;
        let intent = intent?;
        let findings = match findings {
            Ok(findings) => findings,
            Err(error) => {
                self.forget(store, &intent).await;
                return Err(error);
            }
        };
        let ids = [self.new_id(), self.new_id(), self.new_id()];
        let asking = Asking { asked, rules, reason, findings, ids, notices: self.notices.clone() };
        self.change_begun(intent, &permitted, &asking, once).await
    }

    /// Which facts explain a grant of this person for this client, and which ask for a look.
    async fn findings(&self, actor: &Actor, client: &str) -> Result<Findings, AdminError> {
        let bundle = self.rooms.live.current().ok_or(crate::authorize::AuthorizeError::NoBundle)?;
        let actions: Vec<&Arc<str>> = bundle.taxonomy.actions.keys().collect();
        let told = |prefix: &'static str| {
            let words = actions.iter().filter_map(move |action| Some((&***action, action.strip_prefix(prefix)?)));
            words.collect::<Vec<_>>()
        };
        let (explained, raised) = (told(reviews::EXPLAINED), told(reviews::RAISED));
        let asked = || explained.iter().chain(&raised);
        let pleas: Vec<Plea> = asked().map(|(action, _)| Plea::on(action, "Client", client)).collect();
        let found = self.finds(actor, &pleas).await;
        let true_ones = |words: &[(&str, &str)], found: &[bool]| {
            let both = words.iter().zip(found).filter(|(_, found)| **found);
            both.map(|((_, word), _)| Arc::from(*word)).collect::<Vec<Arc<str>>>()
        };
        let (of_explained, of_raised) = found.split_at_checked(explained.len()).unwrap_or_default();
        let findings =
            Findings { explained: true_ones(&explained, of_explained), raised: true_ones(&raised, of_raised) };
        Ok(findings)
    }

    /// Counts the soft limits that a new grant met; none of them stopped it.
    pub(in crate::admin) fn tell_alerts(&self, met: &[Alert]) {
        for alert in met {
            self.rooms.metrics.grant_alert(alert.as_str());
            tracing::warn!(limit = alert.as_str(), "a soft limit of emergency grants was met");
        }
    }
}

fn words<'w>(words: impl Iterator<Item = &'w Arc<str>>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl Asking<'_> {
    async fn refuse(
        &self,
        transaction: &mut Transaction,
        tenant: &str,
        now: Timestamp,
        last: &[String],
    ) -> Result<Vec<Arc<str>>, AdminError> {
        let asked = self.asked;
        let refused = |reason: &'static str, text: &str| {
            Err(AdminError::Refused { reason: Reason::new(reason), text: Some(text.to_owned()) })
        };
        if self.reason.needs == Some(Need::Disaster) && !rows::is_disaster(transaction, tenant, now).await? {
            return refused("grant_ineligible", "no disaster of this organization is declared");
        }
        if !is_a_reason(&asked.justification, &asked.reason_code, last.iter().map(String::as_str)) {
            return refused("reason_required", "say in a sentence why, and not with one of your last three texts");
        }
        if self.reason.needs == Some(Need::Recipient) && !asked.recipient.as_ref().is_some_and(Recipient::is_whole) {
            return refused("reason_required", "say to whom the records go: `recipient` with name and affiliation");
        }
        match opened(&self.rules, &self.reason, asked.fields.as_deref()) {
            Ok(groups) => Ok(groups),
            Err(_never) => refused("grant_scope", "a group that was asked for is never opened for this reason"),
        }
    }

    fn record_of(&self, grant: &Grant, review: &Review, alerts: &[Alert]) -> Map<String, Json> {
        let mut detail = Map::new();
        let mut say = |key: &str, value: Json| drop(detail.insert(key.to_owned(), value));
        say("reason_code", Json::from(&*grant.reason_code));
        say("justification", Json::from(&*grant.justification));
        say("review", Json::from(&*review.id));
        say("priority", Json::from(review.priority.as_str()));
        let list = |words: &[Arc<str>]| Json::from(words.iter().map(|word| &**word).collect::<Vec<_>>());
        for (key, words) in [("explained", &self.findings.explained), ("raised", &self.findings.raised)] {
            if !words.is_empty() {
                say(key, list(words));
            }
        }
        if !alerts.is_empty() {
            say("soft_limits", Json::from(alerts.iter().map(|alert| alert.as_str()).collect::<Vec<_>>()));
        }
        if let Some(recipient) = &grant.recipient {
            say("recipient", Json::from(recipient.name.as_str()));
            say("affiliation", Json::from(recipient.affiliation.as_str()));
        }
        if let Some(occurred) = self.asked.occurred {
            say("from", Json::from(occurred.from.to_string()));
            say("to", Json::from(occurred.to.to_string()));
        }
        detail
    }

    const fn event(&self, grant: &Grant) -> &'static str {
        match (self.asked.occurred, grant.activated_at) {
            (Some(_), _) => "entered",
            (None, Some(_)) => "activated",
            (None, None) => "requested",
        }
    }
}

impl Change for Asking<'_> {
    type Answer = GrantView;

    fn kind(&self) -> RecordKind {
        RecordKind::Grant
    }

    async fn make(
        &self,
        permitted: &Permitted,
        transaction: &mut Transaction,
        moment: &Moment,
    ) -> Result<Told<GrantView>, AdminError> {
        let asked = self.asked;
        let tenant = permitted.tenant().ok_or(AdminError::refused(Reason::new("tenant_missing")))?;
        rows::lock_person(transaction, &asked.user, &asked.client).await?;
        let past = rows::past(transaction, &tenant, (&asked.user, &asked.client), moment.now).await?;
        let groups = self.refuse(transaction, &tenant, moment.now, &past.texts).await?;
        let [id, review_id, event_id] = &self.ids;
        let request = Asked {
            id: id.clone(),
            tenant: tenant.clone(),
            user: asked.user.clone(),
            client: asked.client.clone(),
            reason_code: asked.reason_code.clone(),
            needs: self.reason.needs,
            justification: asked.justification.clone(),
            groups,
            duration_seconds: asked.duration_seconds,
            recipient: asked.recipient.clone().filter(Recipient::is_whole),
        };
        let grant = match asked.occurred {
            Some(Occurred { from, to }) => Grant::after_the_fact(request, from, to, moment.now),
            None => Grant::requested(request, &past.open, moment.now, moment.limits)?,
        };
        rows::insert(transaction, &grant).await?;
        let event = self.event(&grant);
        rows::note(transaction, (event_id, id), event, &permitted.by(), moment.now, None).await?;
        let mut history = past.history;
        let (user, client) = (grant.user.clone(), grant.client.clone());
        history.push(History { user, client, requested_at: grant.requested_at });
        let alerts = alerts(&history, &asked.user, &asked.client, moment.now);
        let is_raised = !self.findings.raised.is_empty() || !alerts.is_empty();
        let review = Review::of(&grant, review_id.clone(), &self.findings.explained, is_raised);
        reviews::insert(transaction, &review).await?;
        if let Some(notices) = &self.notices {
            // Whom many know, who works here, or who asked not to be seen: that is looked at today.
            let urgency = if self.findings.raised.is_empty() { Urgency::Digest } else { Urgency::Immediate };
            let told = Noticed { id: event_id, tenant: &tenant, client: &grant.client, review: review_id };
            notices.put(transaction, urgency, told, moment.now).await?;
        }
        let after = view::state(&grant);
        let detail = self.record_of(&grant, &review, &alerts);
        let about = About {
            tenant: Some(tenant),
            client: Some(grant.client.clone()),
            grant: Some(grant.id.clone()),
            purpose: Some(self.reason.purpose.clone()),
            fields: Some(FieldsRecord {
                requested: asked.fields.iter().flatten().map(|name| crate::domain::record::code_word(name)).collect(),
                allowed: grant.groups.iter().map(ToString::to_string).collect(),
                ..FieldsRecord::default()
            }),
        };
        let answer = GrantView::of(&grant, Some(review), &self.rules.obligations, moment.now);
        Ok(Told { answer, event, before: Json::Null, after, about, detail, alerts })
    }
}
