//! The state machine beside a model: random people, steps and instants never reach what docs/domain.md §4.1 forbids.

use proptest::prelude::*;

use super::*;
use crate::domain::review::{Disposition, Review, ReviewState};

const LIMITS: GrantLimits = GrantLimits { default_seconds: 3_600, most_seconds: 14_400, extensions_max: 1 };
const PEOPLE: [&str; 4] = ["ana", "ben", "pri", "sid"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_773_154_800 + second).unwrap()
}

fn asked(user: &str, needs: Option<Need>, duration_seconds: Option<i64>) -> Asked {
    Asked {
        id: "g".into(),
        tenant: "T1".into(),
        user: user.into(),
        client: "C4".into(),
        reason_code: "EMERG_TREAT".into(),
        needs,
        justification: "Client unreachable and in danger".into(),
        groups: vec!["id.pseudo".into()],
        duration_seconds,
        recipient: None,
    }
}

fn granted(needs: Option<Need>, wish: Option<i64>) -> Grant {
    Grant::requested(asked("ana", needs, wish), &[], at(0), LIMITS).unwrap()
}

#[test]
fn a_grant_runs_an_hour_and_never_longer_than_four() {
    assert_eq!(granted(None, None).expires_at, Some(at(3_600)));
    assert_eq!(granted(None, Some(86_400)).expires_at, Some(at(14_400)));
    let extended = granted(None, Some(14_000)).extend(Some(14_400), at(10), LIMITS).unwrap();
    assert_eq!(extended.expires_at, Some(at(14_400)));
    let extended = granted(None, None).extend(None, at(3_599), LIMITS).unwrap();
    assert_eq!(extended.expires_at, Some(at(7_200)));
    assert_eq!(extended.extend(None, at(3_600), LIMITS), Err(Illegal::Extended));
}

#[test]
fn a_grant_is_over_at_its_end_and_not_before() {
    let grant = granted(None, None);
    assert_eq!(grant.standing(at(3_599)), Standing::Active);
    assert_eq!(grant.standing(at(3_600)), Standing::Expired);
    assert_eq!(grant.extend(None, at(3_600), LIMITS), Err(Illegal::Over(Standing::Expired)));
}

#[test]
fn a_waiting_grant_is_approved_by_somebody_else_within_fifteen_minutes() {
    let waiting = granted(Some(Need::Approval), Some(600));
    assert_eq!((waiting.standing(at(0)), waiting.expires_at), (Standing::Pending, None));
    assert_eq!(waiting.clone().approve(&"ana".into(), &[], at(1), LIMITS), Err(Illegal::Own));
    let approved = waiting.clone().approve(&"pri".into(), &[], at(899), LIMITS).unwrap();
    assert_eq!((approved.activated_at, approved.expires_at), (Some(at(899)), Some(at(1_499))));
    assert_eq!(approved.approver.as_deref(), Some("pri"));
    assert_eq!(waiting.clone().approve(&"pri".into(), &[], at(900), LIMITS), Err(Illegal::Over(Standing::Rejected)));
    assert_eq!(waiting.clone().end(&"ana".into(), at(1)), Err(Illegal::Waiting));
    let second = granted(None, None);
    assert_eq!(waiting.approve(&"pri".into(), &[second], at(1), LIMITS), Err(Illegal::Second));
}

#[test]
fn a_second_one_needs_the_first_to_be_over() {
    let first = granted(None, None);
    let again = |others: &[Grant], second| Grant::requested(asked("ana", None, None), others, at(second), LIMITS);
    assert_eq!(again(std::slice::from_ref(&first), 3_599), Err(Illegal::Second));
    assert!(again(std::slice::from_ref(&first), 3_600).is_ok());
    let ended = first.end(&"ana".into(), at(10)).unwrap();
    assert!(again(&[ended], 10).is_ok());
}

#[test]
fn a_part_of_a_second_is_no_time_during_which_a_grant_opens_nothing() {
    let now = Timestamp::new(1_773_154_800, 999_000_000).unwrap();
    let grant = Grant::requested(asked("ana", None, None), &[], now, LIMITS).unwrap();
    assert!(grant.activated_at.unwrap() <= now);
    let ended = grant.end(&"ana".into(), now).unwrap();
    assert!(ended.ended_at.unwrap() <= now);
}

fn rules() -> GrantRules {
    let reason = |opens: &[&str]| GrantReason {
        purpose: "TREAT".into(),
        opens: opens.iter().map(|group| Arc::from(*group)).collect(),
        needs: None,
    };
    GrantRules {
        action: "grant:emergency".into(),
        always: vec!["id.pseudo".into()],
        default: ["id.pseudo", "clin.alert"].map(Arc::from).into(),
        by_request: vec!["clin.assess".into()],
        reasons: [("PLAIN".into(), reason(&[])), ("WARN".into(), reason(&["clin.psynote"]))].into(),
        obligations: Vec::new(),
    }
}

#[test]
fn fields_open_instead_of_the_default_and_never_what_is_not_listed() {
    let rules = rules();
    let open = |code: &str, named: Option<&[&str]>| {
        let named: Option<Vec<String>> = named.map(|named| named.iter().map(ToString::to_string).collect());
        let opened = opened(&rules, &rules.reasons[code], named.as_deref())?;
        Ok::<_, String>(opened.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(open("PLAIN", None).unwrap(), "id.pseudo clin.alert");
    assert_eq!(open("WARN", None).unwrap(), "id.pseudo clin.alert clin.psynote");
    assert_eq!(open("PLAIN", Some(&["clin.assess", "clin.assess"])).unwrap(), "id.pseudo clin.assess");
    assert_eq!(open("WARN", Some(&["clin.psynote"])).unwrap(), "id.pseudo clin.psynote");
    assert_eq!(open("PLAIN", Some(&["clin.alert", "clin.psynote"])).unwrap_err(), "clin.psynote");
    assert_eq!(open("PLAIN", Some(&["id.gov"])).unwrap_err(), "id.gov");
    assert_eq!(open("PLAIN", Some(&["*"])).unwrap_err(), "*");
}

/// One call: who, what, and how long after the last one.
#[derive(Clone, Debug)]
enum Call {
    Ask { needs: bool, wish: Option<i64> },
    Approve,
    Reject,
    Extend { wish: Option<i64> },
    End,
    Revoke,
    Take,
    Close,
}

fn call() -> impl Strategy<Value = Call> {
    let wish = || proptest::option::of(-5_i64..20_000);
    prop_oneof![
        (any::<bool>(), wish()).prop_map(|(needs, wish)| Call::Ask { needs, wish }),
        Just(Call::Approve),
        Just(Call::Reject),
        wish().prop_map(|wish| Call::Extend { wish }),
        Just(Call::End),
        Just(Call::Revoke),
        Just(Call::Take),
        Just(Call::Close),
    ]
}

/// What the page says, in the fewest words: kept beside the grant, and compared with it after every call.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Waiting { since: i64, wish: i64 },
    Open { from: i64, to: i64, extended: bool },
    Shut,
}

fn after(model: &Model, now: i64) -> Model {
    match *model {
        Model::Waiting { since, .. } if now >= since + 900 => Model::Shut,
        Model::Open { to, .. } if now >= to => Model::Shut,
        ref other => other.clone(),
    }
}

fn length(wish: Option<i64>) -> i64 {
    wish.unwrap_or(3_600).clamp(1, 14_400)
}

/// What a call makes of the person's last grant; `None`: refused.
fn modelled(model: &Model, call: &Call, by: &str, now: i64) -> Option<Model> {
    match (after(model, now), call) {
        (Model::Open { .. }, Call::Ask { .. }) => None,
        (_, Call::Ask { needs: true, wish }) => Some(Model::Waiting { since: now, wish: length(*wish) }),
        (_, Call::Ask { needs: false, wish }) => {
            Some(Model::Open { from: now, to: now + length(*wish), extended: false })
        }
        (Model::Waiting { wish, .. }, Call::Approve) if by != "ana" => {
            Some(Model::Open { from: now, to: now + wish, extended: false })
        }
        (Model::Waiting { .. }, Call::Reject) => Some(Model::Shut),
        (Model::Open { from, to, extended: false }, Call::Extend { wish }) => {
            Some(Model::Open { from, to: (to + length(*wish)).min(from + 14_400), extended: true })
        }
        (Model::Open { .. }, Call::End | Call::Revoke) => Some(Model::Shut),
        (_, _) => None,
    }
}

fn made(grant: &Grant, call: &Call, by: &Arc<str>, now: Timestamp) -> Result<Grant, Illegal> {
    let grant = grant.clone();
    match call {
        Call::Ask { needs, wish } => {
            Grant::requested(asked("ana", needs.then_some(Need::Approval), *wish), &[grant], now, LIMITS)
        }
        Call::Approve => grant.approve(by, &[], now, LIMITS),
        Call::Reject => grant.reject(by, now),
        Call::Extend { wish } => grant.extend(*wish, now, LIMITS),
        Call::End => grant.end(by, now),
        Call::Revoke => grant.revoke(by, now),
        Call::Take | Call::Close => Ok(grant),
    }
}

proptest! {
    #[test]
    fn no_calls_reach_what_the_page_forbids(
        calls in proptest::collection::vec((call(), 0_usize..4, 0_i64..6_000), 1..40)
    ) {
        let mut grant = granted(None, None);
        let mut review = Review::of(&grant, "r".into(), &[], false);
        let mut model = Model::Open { from: 0, to: 3_600, extended: false };
        let mut now = 0;
        for (call, person, pause) in calls {
            now += pause;
            let by: Arc<str> = PEOPLE[person].into();
            match &call {
                Call::Take | Call::Close => {
                    let closing = matches!(call, Call::Close);
                    let done = if closing {
                        review.clone().close(&grant, &by, Disposition::Justified, at(now))
                    } else {
                        review.clone().take(&grant, &by, at(now))
                    };
                    if let Ok(done) = done {
                        let is_own = *by == *grant.user || grant.approver.as_ref() == Some(&by);
                        prop_assert!(!is_own, "{by} reviewed the own access");
                        prop_assert!(review.state != ReviewState::Closed, "a closed review was opened");
                        prop_assert!(!closing || grant.standing(at(now)).is_over(), "closed while it ran");
                        review = done;
                    }
                }
                Call::Ask { .. } | Call::Approve | Call::Reject | Call::Extend { .. } | Call::End | Call::Revoke => {
                    let expected = modelled(&model, &call, &by, now);
                    let found = made(&grant, &call, &by, at(now));
                    prop_assert_eq!(found.is_ok(), expected.is_some(), "{:?} by {} at {}: {:?}", call, by, now, found);
                    if let (Ok(found), Some(expected)) = (found, expected) {
                        if matches!(call, Call::Ask { .. }) {
                            review = Review::of(&found, "r".into(), &[], false);
                        } else {
                            prop_assert_eq!(&found.justification, &grant.justification);
                            prop_assert_eq!(&found.groups, &grant.groups);
                            review = review.following(&found, at(now));
                        }
                        grant = found;
                        model = expected;
                    }
                }
            }
            let opens = matches!(after(&model, now), Model::Open { .. });
            prop_assert_eq!(grant.standing(at(now)) == Standing::Active, opens);
            if let (Some(from), Some(to)) = (grant.activated_at, grant.expires_at) {
                prop_assert!(to.duration_since(from).as_secs() <= 14_400, "longer than four hours in all");
            }
            prop_assert!(grant.approver.as_ref() != Some(&grant.user), "approved by the holder");
        }
    }

    #[test]
    fn a_review_is_told_of_when_it_is_past_due_and_not_before(explained in any::<bool>(), id in "[a-z]{6}") {
        let grant = granted(None, None);
        let explanations: Vec<Arc<str>> = if explained { vec!["appointment".into()] } else { Vec::new() };
        let review = Review::of(&grant, id.as_str().into(), &explanations, false);
        let due = 3_600 + 24 * 3_600;
        prop_assert_eq!(review.due_at, at(due));
        prop_assert_eq!(review.clone().as_of(&grant, at(due - 1)).state, ReviewState::Pending);
        let expected = if review.closes_by_itself() { ReviewState::Closed } else { ReviewState::Escalated };
        prop_assert_eq!(review.as_of(&grant, at(due)).state, expected);
    }
}

#[test]
fn one_explained_grant_in_ten_is_read_by_a_person() {
    let grant = granted(None, None);
    let read = |index: i64| {
        let id = Arc::from(format!("0199d1a2-0000-7000-8000-{index:012x}"));
        !Review::of(&grant, id, &["coverage".into()], false).closes_by_itself()
    };
    let read = (0..10_000).filter(|index| read(*index)).count();
    assert!((800..1_200).contains(&read), "{read} of 10000");
    let raised = Review::of(&grant, "r".into(), &["coverage".into()], true);
    assert!(!raised.closes_by_itself(), "what is raised is read");
}

#[test]
fn a_review_of_a_rejected_request_has_nothing_to_look_at() {
    let waiting = granted(Some(Need::Approval), None);
    let review = Review::of(&waiting, "r".into(), &[], false);
    let rejected = waiting.clone().reject(&"pri".into(), at(5)).unwrap();
    let closed = review.clone().following(&rejected, at(5));
    assert_eq!((closed.state, closed.disposition, closed.closed_at), (ReviewState::Closed, None, Some(at(5))));
    assert_eq!(review.as_of(&waiting, at(900)).state, ReviewState::Closed, "nobody agreed in time");
}

#[test]
fn a_reviewer_asks_and_hears_and_nobody_else_closes() {
    use crate::domain::review::Unreviewable;
    let (pri, sid): (Arc<str>, Arc<str>) = ("pri".into(), "sid".into());
    let grant = granted(None, None).end(&"ana".into(), at(60)).unwrap();
    let review = Review::of(&grant, "r".into(), &[], false);
    assert_eq!(review.clone().ask(&grant, &pri, at(61)), Err(Unreviewable::Untaken));
    let taken = review.take(&grant, &pri, at(61)).unwrap();
    assert_eq!(taken.clone().answered(&grant, &pri, at(62)), Err(Unreviewable::NothingAsked(ReviewState::InReview)));
    let waiting = taken.ask(&grant, &pri, at(62)).unwrap();
    assert_eq!(waiting.clone().ask(&grant, &pri, at(63)), Err(Unreviewable::Waiting));
    let heard = waiting.answered(&grant, &pri, at(63)).unwrap();
    assert_eq!(heard.clone().close(&grant, &sid, Disposition::Justified, at(64)), Err(Unreviewable::Taken));
    let closed = heard.close(&grant, &pri, Disposition::FixAccess, at(64)).unwrap();
    assert_eq!(closed.clone().take(&grant, &pri, at(65)), Err(Unreviewable::Closed));
    assert_eq!(closed.disposition, Some(Disposition::FixAccess));
}
