//! Random questions over the demo world: everybody, every record, verb, field, purpose and session, at instants near
//! the windows. A seed gives the same questions always; a failing one is printed whole.

use std::collections::BTreeMap;

use chaperone::domain::{Mode, Request, Timestamp};
use serde_json::json;

use super::clinic::{Clinic, Person, Said as _, Thing, at, fresh, request};

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.next() % choices.len() as u64;
        &choices[usize::try_from(index).unwrap()]
    }

    /// True in `percent` of a hundred throws.
    pub(crate) fn in_hundred(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

const INSTANTS: [&str; 14] = [
    "2026-03-10T15:00:00Z",
    "2026-03-10T15:00:00Z",
    "2026-03-10T15:00:00Z",
    "2026-03-10T14:59:58Z",
    "2026-03-10T14:59:59Z",
    "2026-03-10T14:29:59Z",
    "2026-03-10T15:29:45Z",
    "2026-03-10T15:30:00Z",
    "2026-03-10T15:49:50Z",
    "2026-03-10T17:59:40Z",
    "2026-03-10T23:59:45Z",
    "2026-03-11T00:00:00Z",
    "2026-03-11T03:59:50Z",
    "2026-03-12T00:00:00Z",
];

const PURPOSES: [&str; 12] = [
    "TREAT",
    "ETREAT",
    "CAREMGT",
    "HOPERAT",
    "HPAYMT",
    "HCOMPL",
    "HLEGAL",
    "PUBHLTH",
    "PATRQT",
    "PATADMIN",
    "HSYSADMIN",
    "NOSUCH",
];

/// Draws questions from what the demo world holds.
pub(crate) struct Draw {
    people: Vec<Person>,
    things: Vec<Thing>,
    verbs: Vec<String>,
    actions: Vec<(String, Vec<String>)>,
    names: Vec<String>,
    /// Groups that a record of the type answers for, the header included.
    own: BTreeMap<String, Vec<String>>,
    dice: Dice,
}

impl Draw {
    pub(crate) async fn new(clinic: &Clinic, seed: u64) -> Self {
        let taxonomy = &clinic.bundle.taxonomy;
        let plain = taxonomy.actions.iter().filter(|(_, plain)| !plain.internal);
        let columns = taxonomy.types.values().flat_map(|fields| fields.groups.iter().flat_map(|(_, columns)| columns));
        Self {
            people: clinic.people().await,
            things: clinic.things().await,
            verbs: taxonomy.verbs.keys().map(ToString::to_string).collect(),
            actions: plain
                .map(|(name, plain)| (name.to_string(), plain.on.keys().map(ToString::to_string).collect()))
                .collect(),
            names: taxonomy.groups.keys().chain(columns).map(ToString::to_string).chain(["nope".into()]).collect(),
            own: taxonomy
                .types
                .iter()
                .map(|(kind, fields)| {
                    let header = taxonomy.header.iter().filter(|_| fields.header.is_some());
                    let groups = fields.groups.iter().map(|(group, _)| group);
                    let groups = groups.chain(header.flat_map(|header| &header.groups));
                    (kind.to_string(), groups.map(ToString::to_string).collect())
                })
                .collect(),
            dice: Dice::new(seed),
        }
    }

    pub(crate) fn question(&mut self) -> (Request, Timestamp) {
        let dice = &mut self.dice;
        let person = dice.of(&self.people).clone();
        let acting = if person.tenants.is_empty() { String::new() } else { dice.of(&person.tenants).clone() };
        let near: Vec<&Thing> = self.things.iter().filter(|thing| thing.tenants.contains(&acting)).collect();
        let thing = if dice.in_hundred(90) && !near.is_empty() { *dice.of(&near) } else { dice.of(&self.things) };
        let plain: Vec<&String> = self
            .actions
            .iter()
            .filter(|(_, on)| on.iter().any(|kind| kind == thing.kind))
            .map(|(name, _)| name)
            .collect();
        let action = if dice.in_hundred(20) && !plain.is_empty() {
            (*dice.of(&plain)).clone()
        } else if dice.in_hundred(50) {
            "read".into()
        } else {
            dice.of(&self.verbs).clone()
        };
        let mut asked = request(&person.id, &action, thing.kind, &thing.id);
        asked = self.fields_of(asked);
        let dice = &mut self.dice;
        if dice.in_hundred(25) {
            asked = asked.mode(*dice.of(&[Mode::Filter, Mode::Strict]));
        }
        if dice.in_hundred(50) {
            asked = asked.context("access_reason", json!("because"));
        }
        if dice.in_hundred(15) {
            asked = asked.context("purpose", json!(dice.of::<&str>(&PURPOSES[..])));
        }
        let session = match dice.of(&[0, 0, 0, 0, 0, 0, 1, 2, 3, 4]) {
            0 => fresh(&acting),
            1 => {
                json!({ "mfa": true, "idle_seconds": 885, "age_seconds": 86_390, "device_managed": true, "tenant": acting })
            }
            2 => json!({ "idle_seconds": 1, "age_seconds": 1, "tenant": acting }),
            3 => json!({ "mfa": true, "idle_seconds": 900, "age_seconds": 1, "tenant": acting }),
            _ => json!({ "mfa": true, "device_managed": true, "idle_seconds": 1, "age_seconds": 1 }),
        };
        asked = asked.context("session", session);
        let instant: &&str = dice.of(&INSTANTS[..]);
        (asked, at(instant))
    }

    fn fields_of(&mut self, asked: Request) -> Request {
        match self.dice.of(&[0, 1, 2, 2]) {
            0 => asked,
            1 => asked.fields(&["*"]),
            _ => {
                let count = *self.dice.of(&[1, 2, 5]);
                let own = self.own.get(&asked.resource.kind).filter(|own| !own.is_empty() && self.dice.in_hundred(70));
                let choices = own.unwrap_or(&self.names);
                let names: Vec<String> = (0..count).map(|_| self.dice.of(choices).clone()).collect();
                let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
                names.push("id.pseudo");
                asked.fields(&names)
            }
        }
    }
}
