//! Windows by the clocks of the databases: what is allowed is allowed at every instant that one of them may show.

use std::sync::Arc;

use cedar_policy::EntityUid;
use chaperone::domain::{
    Cell, Loaded, Row, Skew, Slice, Timestamp,
    mapping::{CellKind, Column},
};
use jiff::{SignedDuration, ToSpan as _};

use crate::{
    helpers::{
        clinic::{Clinic, NOW, Said as _, at, fresh, request},
        random::{Dice, Draw},
    },
    properties::{allows, gives_as_much, gives_no_more},
};

const STEPS: usize = 300;
const QUESTIONS: usize = 40;

/// Every cell of the slice that may hold an instant, by its place: the entity, the relation or none, the row, the column.
type Place = (EntityUid, Option<Arc<str>>, usize, usize);

fn places(clinic: &Clinic, slice: &Slice) -> Vec<Place> {
    let mut found = Vec::new();
    for (uid, loaded) in &*slice.entities {
        let (Loaded::Present(entity), Some(mapping)) =
            (loaded, clinic.bundle.mapping.entity(&uid.type_name().to_string()))
        else {
            continue;
        };
        let instants = |columns: &[Column]| -> Vec<usize> {
            columns
                .iter()
                .enumerate()
                .filter(|(_, column)| column.kind == CellKind::Instant)
                .map(|(at, _)| at)
                .collect()
        };
        found.extend(instants(&mapping.columns).into_iter().map(|column| (uid.clone(), None, 0, column)));
        for (name, rows) in &entity.relations {
            let columns = instants(&mapping.relations[name].columns);
            let of_row = |row| columns.iter().map(move |column| (uid.clone(), Some(name.clone()), row, *column));
            found.extend((0..rows.len()).flat_map(of_row));
        }
    }
    found
}

/// The same slice with an instant in that place.
fn with(mut slice: Slice, (uid, relation, row, column): &Place, at: Timestamp) -> Slice {
    let Some(Loaded::Present(entity)) = slice.entities.get_mut(uid) else { panic!("it is there") };
    let set = |row: &mut Row| {
        let mut cells = row.cells.to_vec();
        cells[*column] = Cell::Instant(at);
        row.cells = cells.into();
    };
    match relation {
        None => set(&mut entity.row),
        Some(relation) => {
            let mut rows = entity.relations[relation].to_vec();
            set(&mut rows[*row]);
            entity.relations.insert(relation.clone(), rows.into());
        }
    }
    slice
}

fn seconds(dice: &mut Dice, most: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(dice.next() % (most * 1_000)).unwrap())
}

#[tokio::test]
async fn what_is_allowed_is_allowed_whatever_the_clocks_show() {
    let clinic = Clinic::demo().await;
    let (mut draw, mut dice) = (Draw::new(&clinic, 11).await, Dice::new(11));
    let mut allowed = Vec::new();
    while allowed.len() < QUESTIONS {
        let question = clinic.question(&draw.question().0);
        let slice = clinic.slice(&question, at(NOW)).await;
        if allows(&clinic.bundle.evaluate(&question, &slice, at(NOW))) {
            allowed.push((question, slice));
        }
    }
    let now = at(NOW);
    let (mut certain, mut doubted) = (0, 0);
    for step in 0..STEPS {
        let (question, slice) = dice.of(&allowed);
        let (mut slice, places) = (slice.clone(), places(&clinic, slice));
        // Windows that open and close about now, of rights and of bars alike.
        let mut shown = Vec::new();
        for _ in 0..*dice.of(&[1, 2, 3]) {
            let instant = now + seconds(&mut dice, 8) - SignedDuration::from_secs(4);
            slice = with(slice, dice.of(&places), instant);
            shown.push(instant);
        }
        let skew = Skew { behind: seconds(&mut dice, 4), ahead: seconds(&mut dice, 4) };
        let (earliest, latest) = skew.around(now);
        // An end that still counts is over at the instant after it.
        shown.extend(shown.clone().into_iter().map(|at| at + 1.nanosecond()));
        shown.retain(|at| *at >= earliest && *at <= latest);
        shown.extend([earliest, now, latest]);
        let said = clinic.bundle.evaluate(question, &Slice { skew, ..slice.clone() }, now);
        let at_once = clinic.bundle.evaluate(question, &slice, now);
        let each: Vec<_> = shown.iter().map(|at| (*at, clinic.bundle.evaluate(question, &slice, *at))).collect();
        for (instant, then) in &each {
            assert!(
                gives_no_more(then, &said),
                "step {step}: {said:?} at {now} with {skew:?}, and {then:?} at {instant}"
            );
        }
        if allows(&at_once) && each.iter().all(|(_, then)| gives_as_much(&at_once, then)) {
            assert!(
                gives_as_much(&at_once, &said),
                "step {step}: nothing is denied without need: {said:?}, {at_once:?}"
            );
            certain += 1;
            // Reused until it says, it still allows no more than the clocks do.
            let last = said.not_after.unwrap() - 1.nanosecond();
            if last >= now {
                let later = clinic.bundle.evaluate(question, &Slice { skew, ..slice.clone() }, last);
                assert!(gives_as_much(&said, &later), "step {step}: at {last}, {later:?} after {said:?}");
            }
        } else if allows(&at_once) {
            doubted += 1;
        }
    }
    println!("{certain} allows that hold by every clock, {doubted} that hold by ours alone");
    assert!(certain > 80 && doubted > 15, "{certain} certain, {doubted} doubted");
}

/// The assignment ends at 04:00:00; the database is three seconds ahead.
#[tokio::test]
async fn an_assignment_ends_when_the_first_clock_says_so_and_a_bar_when_the_last_does() {
    let clinic = Clinic::demo().await;
    let ahead = Skew { behind: SignedDuration::ZERO, ahead: SignedDuration::from_secs(3) };
    let behind = Skew { behind: SignedDuration::from_secs(3), ahead: SignedDuration::ZERO };
    clinic.write("store", "UPDATE assignments SET valid_to = '2026-03-10T15:10:00Z' WHERE id = 'A1'".to_owned()).await;
    let reads = request("ana", "read", "Note", "N1").context("session", fresh("T1"));
    let question = clinic.question(&reads);
    let slice = clinic.slice(&question, at(NOW)).await;
    let asked = |skew: Skew, now: &str| clinic.bundle.evaluate(&question, &Slice { skew, ..slice.clone() }, at(now));
    let open = asked(ahead, "2026-03-10T15:09:56.999Z");
    assert!(allows(&open), "{open:?}");
    assert_eq!(open.not_after, Some(at("2026-03-10T15:09:57Z")), "by our clock it ends as much earlier");
    assert!(!allows(&asked(ahead, "2026-03-10T15:09:57Z")));
    assert!(allows(&asked(behind, "2026-03-10T15:09:59.999Z")), "no clock has come to its end");

    let bar = "INSERT INTO restrictions (id, tenant_id, client_id, kind, target_type, target_id, status, emergency_exception, valid_from, valid_to)
               VALUES ('RSX', 'T1', 'C1', 'agreed', 'user', 'ana', 'agreed', FALSE, '2026-03-10T15:01:00Z', '2026-03-10T15:02:00Z')";
    clinic.write("store", bar.to_owned()).await;
    let slice = clinic.slice(&question, at(NOW)).await;
    let asked =
        |skew: Skew, now: &str| allows(&clinic.bundle.evaluate(&question, &Slice { skew, ..slice.clone() }, at(now)));
    assert!(
        asked(ahead, "2026-03-10T15:00:56.999Z") && !asked(ahead, "2026-03-10T15:00:57Z"),
        "it starts by the first"
    );
    assert!(!asked(behind, "2026-03-10T15:02:02.999Z") && asked(behind, "2026-03-10T15:02:03Z"), "it ends by the last");
}
