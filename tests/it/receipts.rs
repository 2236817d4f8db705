//! No answer without a record, whatever happens to the process: `kill -9` under load, again and again.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use chaperone::audit::Verdict;

use crate::{
    helpers::sidecar::{Doors, Receipt, Sidecar, ana_reads, wait_for},
    shipped::{in_file, verified},
};

/// `CHAPERONE_KILLS` says another number.
const KILLS: usize = 200;
const RECEIPTS_A_KILL_MIN: usize = 20;
const CALLERS: usize = 6;

#[test]
fn every_receipt_is_in_the_trail_once_however_often_the_process_is_killed() {
    let kills = std::env::var("CHAPERONE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let began = Instant::now();
    let mut sidecar = Sidecar::demo();
    let mut receipts = Vec::new();
    for kill in 0..kills {
        if kill > 0 {
            sidecar.start();
        }
        // Another number of answers each time, so that the kills fall on different moments of the writer.
        let got = ask_until_killed(&mut sidecar, RECEIPTS_A_KILL_MIN + kill % 17);
        assert!(got.len() >= RECEIPTS_A_KILL_MIN, "{} receipts before the kill", got.len());
        receipts.extend(got);
    }
    sidecar.start();
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());

    let mut places: HashMap<Receipt, usize> = HashMap::new();
    let mut decisions: HashMap<String, usize> = HashMap::new();
    for (receipt, _) in sidecar.records() {
        *decisions.entry(receipt.decision_id.clone()).or_default() += 1;
        *places.entry(receipt).or_default() += 1;
    }
    let found_once =
        |receipt: &&Receipt| places.get(*receipt) == Some(&1) && decisions.get(&receipt.decision_id) == Some(&1);
    let missing: Vec<_> = receipts.iter().filter(|receipt| !found_once(receipt)).collect();
    println!("{kills} kills, {} receipts, {} missing, {:?}", receipts.len(), missing.len(), began.elapsed());
    assert_eq!(missing, Vec::<&Receipt>::new(), "receipts that do not stand in the trail exactly once");
    assert_eq!(receipts.iter().collect::<HashSet<_>>().len(), receipts.len(), "no receipt was given twice");
    // The store has what the folder has, each record once, and so each receipt.
    let shipped = in_file(&sidecar.folder().join("store.trail.db"));
    let unshipped = places.keys().filter(|place| !shipped.contains(&(place.writer.clone(), place.seq))).count();
    println!("{} records in the store, {unshipped} missing there", shipped.len());
    assert_eq!((shipped.len(), unshipped), (places.len(), 0));
    let store = verified(&format!("sqlite://{}", sidecar.folder().join("store.trail.db").display()));
    assert_eq!(store.code, Some(0), "{}{}", store.stdout, store.stderr);
    let report = sidecar.verify();
    assert_eq!(report.verdict, Verdict::Whole, "{:?} {:?}", report.findings, report.open_ends);
    assert_eq!(report.writers.len(), kills + 1, "one writer a start");
}

/// Callers ask at once, half of them by the socket; after `enough` answers the process is killed while they go on.
fn ask_until_killed(sidecar: &mut Sidecar, enough: usize) -> Vec<Receipt> {
    let doors = sidecar.doors();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (doors, kept, answers) = (doors.clone(), Arc::clone(&kept), Arc::clone(&answers));
            std::thread::spawn(move || ask(&doors, caller, &kept, &answers))
        })
        .collect();
    wait_for("enough answers came", || (answers.load(Ordering::Acquire) >= enough).then_some(()));
    sidecar.kill();
    for caller in callers {
        caller.join().unwrap();
    }
    Arc::into_inner(kept).unwrap().into_inner().unwrap()
}

fn ask(doors: &Doors, caller: usize, kept: &Mutex<Vec<Receipt>>, answers: &AtomicUsize) {
    let question = ana_reads();
    let (mut tcp, mut unix) = (doors.tcp(), doors.unix());
    loop {
        let told = if caller.is_multiple_of(2) { tcp.ask(&question) } else { unix.ask(&question) };
        // Killed before the whole answer was here: that caller holds nothing.
        let Ok(told) = told else { return };
        assert_eq!(told.status, 200, "{}", told.body);
        kept.lock().unwrap().push(told.receipt());
        answers.fetch_add(1, Ordering::Release);
    }
}
