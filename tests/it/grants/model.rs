//! Random people, calls and instants on the real store, beside the pure machine: they agree after every call, and no access
//! is open that the machine says is over.

use std::sync::Arc;

use chaperone::{
    admin::{
        AdminError, Permitted,
        grants::{Approve, End, Extend, Reject, Revoke, Step},
    },
    clock::{Clock, FrozenClock},
    domain::grant::Standing,
};
use jiff::SignedDuration;

use super::{Clinic, opened_store, person, wish};
use crate::helpers::{authorizer::Authorizing, random::Dice, world::World};

/// What is known of the person's last grant, in the words of docs/domain.md §4.1.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    None,
    Waiting { until: i64 },
    Open { from: i64, to: i64, is_extended: bool },
    Over,
}

impl Model {
    fn at(self, now: i64) -> Self {
        match self {
            Self::Waiting { until } if now >= until => Self::Over,
            Self::Open { to, .. } if now >= to => Self::Over,
            other => other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Ask,
    AskToWarn,
    Approve,
    Reject,
    Extend,
    End,
    Revoke,
}

const CALLS: [Call; 7] =
    [Call::Ask, Call::AskToWarn, Call::Approve, Call::Reject, Call::Extend, Call::End, Call::Revoke];

fn expected(model: Model, call: Call, now: i64) -> Option<Model> {
    match (model.at(now), call) {
        (Model::Open { .. }, Call::Ask | Call::AskToWarn) => None,
        (_, Call::Ask) => Some(Model::Open { from: now, to: now + 3_600, is_extended: false }),
        (_, Call::AskToWarn) => Some(Model::Waiting { until: now + 900 }),
        (Model::Waiting { .. }, Call::Approve) => Some(Model::Open { from: now, to: now + 3_600, is_extended: false }),
        (Model::Waiting { .. }, Call::Reject) => Some(Model::Over),
        (Model::Open { from, to, is_extended: false }, Call::Extend) => {
            Some(Model::Open { from, to: (to + 3_600).min(from + 14_400), is_extended: true })
        }
        (Model::Open { .. }, Call::End | Call::Revoke) => Some(Model::Over),
        (_, _) => None,
    }
}

async fn step<S: Step>(
    clinic: &Clinic,
    permitted: Result<Permitted, AdminError>,
    id: &str,
    step: &S,
) -> Result<Arc<str>, AdminError> {
    let permitted = permitted.unwrap();
    clinic.admin.step(&permitted, id, step, None, None).await.map(|done| done.answer.grant_id)
}

async fn made(clinic: &Clinic, call: Call, id: &str, text: &str) -> Result<Arc<str>, AdminError> {
    let officer = |action: &'static str| async move { clinic.admin.ask_about_grant(&person("pri"), action, id).await };
    match call {
        Call::Ask => clinic.ask("ana", &wish("ana", "C4", "EMERG_TREAT", text)).await.map(|grant| grant.grant_id),
        Call::AskToWarn => {
            clinic.ask("ana", &wish("ana", "C4", "DUTY_TO_WARN", text)).await.map(|grant| grant.grant_id)
        }
        Call::Approve => step(clinic, officer("admin:approve").await, id, &Approve).await,
        Call::Reject => step(clinic, officer("admin:approve").await, id, &Reject).await,
        Call::Extend => {
            let extend = Extend { justification: text.into(), duration_seconds: None };
            step(clinic, clinic.admin.ask_to_extend(&person("ana"), id).await, id, &extend).await
        }
        Call::End => step(clinic, clinic.admin.ask_to_end(&person("ana"), id).await, id, &End).await,
        Call::Revoke => step(clinic, officer("admin:revoke").await, id, &Revoke).await,
    }
}

async fn calls_in_any_order_agree_with_the_page(world: World) {
    let clock = FrozenClock::at(crate::helpers::authorizer::NOW.parse().unwrap());
    let store = opened_store(&world).await;
    let options = |world: &World| chaperone::entities::FactsOptions {
        staleness: std::time::Duration::from_secs(20),
        ..world.options()
    };
    let authorizing = Authorizing::with(world, options, Arc::new(clock.clone())).await;
    let clinic = Clinic { admin: authorizing.admin(Some(Arc::clone(&store))), store, authorizing };
    let mut dice = Dice::new(20_260_310);
    let (mut model, mut id, mut now) = (Model::None, Arc::<str>::from("none"), 0_i64);
    for round in 0..80 {
        let pause = *dice.of(&[0, 1, 60, 899, 900, 3_599, 3_600]);
        now += pause;
        clock.set(clock.now() + SignedDuration::from_secs(pause));
        let call = *dice.of(&CALLS);
        let is_about_none = model == Model::None && !matches!(call, Call::Ask | Call::AskToWarn);
        if !is_about_none {
            let text = format!("Client unreachable and in danger, round {round}");
            let found = made(&clinic, call, &id, &text).await;
            let wanted = expected(model, call, now);
            match (&found, wanted) {
                (Ok(grant), Some(after)) => {
                    (id, model) = (grant.clone(), after);
                }
                (Err(AdminError::Illegal(_)), None) => {}
                _ => panic!("round {round}: {call:?} at {now} from {model:?}: {found:?}, expected {wanted:?}"),
            }
        }
        let is_open = matches!(model.at(now), Model::Open { .. });
        assert_eq!(
            clinic.reads("ana", "C4", "clin.plan").await,
            is_open,
            "round {round}: {call:?}, {model:?} at {now}"
        );
        if model != Model::None {
            let state = clinic.admin.grant(&id).await.unwrap().state;
            assert_eq!(*state == *Standing::Active.as_str(), is_open, "round {round}: {state}");
        }
    }
}

crate::on_both!(calls_in_any_order_agree_with_the_page);
