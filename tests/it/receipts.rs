//! No answer without a record, whatever happens to the process: `kill -9` under load, again and again.
//!
//! Two sidecars are killed side by side, so that one works while the other starts or syncs. A folder gets so many kills
//! and then a new one follows: each start looks at all that dead writers left, which is another test's subject at length.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chaperone::audit::Verdict;

use crate::{
    helpers::sidecar::{Doors, Receipt, Sidecar, ana_reads, wait_for},
    shipped::{in_file, lag, verified},
};

/// `CHAPERONE_KILLS` says another number.
const KILLS: usize = 300;
const KILLS_A_FOLDER: usize = 50;
const SIDE_BY_SIDE: usize = 2;
const RECEIPTS_A_KILL_MIN: usize = 64;
const CALLERS: usize = 64;

/// What came of the kills in one folder, or in all.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    receipts: usize,
    records: usize,
    /// Answers that said that there is none now: they are no receipts.
    refused: usize,
    starting: Duration,
    asking: Duration,
    checking: Duration,
}

#[test]
fn every_receipt_is_in_the_trail_and_in_the_store_once_however_often_the_process_is_killed() {
    let kills: usize =
        std::env::var("CHAPERONE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let began = Instant::now();
    let folders: Vec<usize> = (0..kills).step_by(KILLS_A_FOLDER).map(|done| KILLS_A_FOLDER.min(kills - done)).collect();
    let next = AtomicUsize::new(0);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let lane = || {
            let mut tallies = Vec::new();
            while let Some(kills) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                tallies.push(killed(*kills));
            }
            tallies
        };
        let lanes: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane went wrong: its folder is told above")).collect()
    });
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let time = |of: fn(&Tally) -> Duration| tallies.iter().map(of).sum::<Duration>();
    println!(
        "{} kills under {CALLERS} callers: {} receipts, none missing; {} records, each once in folder and store, no gap; \
         {} refused; {:?} ({:?} starting, {:?} asking, {:?} checking, {SIDE_BY_SIDE} side by side)",
        sum(|tally| tally.kills),
        sum(|tally| tally.receipts),
        sum(|tally| tally.records),
        sum(|tally| tally.refused),
        began.elapsed(),
        time(|tally| tally.starting),
        time(|tally| tally.asking),
        time(|tally| tally.checking),
    );
    assert_eq!(sum(|tally| tally.kills), kills);
    // A sidecar that refuses is no test of receipts.
    assert!(sum(|tally| tally.refused) * 10 < sum(|tally| tally.receipts));
}

/// One folder: as many kills, and what must then be so.
fn killed(kills: usize) -> Tally {
    let mut tally = Tally { kills, ..Tally::default() };
    let clocked = |spent: &mut Duration, since: Instant| *spent += since.elapsed();
    let began = Instant::now();
    // Its policies are validated at the first start alone: the others find the mark.
    let mut sidecar = Sidecar::demo();
    clocked(&mut tally.starting, began);
    let mut receipts = Vec::new();
    for kill in 0..kills {
        let began = Instant::now();
        if kill > 0 {
            sidecar.start();
        }
        clocked(&mut tally.starting, began);
        let began = Instant::now();
        // Another number of answers each time, so that the kills fall on different moments of writer and shipper.
        let asked = ask_until_killed(&mut sidecar, RECEIPTS_A_KILL_MIN + kill * 7 % 61);
        assert!(asked.receipts.len() >= RECEIPTS_A_KILL_MIN, "{} receipts before the kill", asked.receipts.len());
        receipts.extend(asked.receipts);
        tally.refused += asked.refused;
        clocked(&mut tally.asking, began);
    }
    let began = Instant::now();
    sidecar.start();
    wait_for("all that was left is shipped", || (lag(&sidecar) == 0).then_some(()));
    assert_eq!(sidecar.stop(), Some(0), "{}", sidecar.log());
    tally.receipts = receipts.len();
    tally.records = check(&sidecar, &receipts, kills);
    clocked(&mut tally.checking, began);
    tally
}

/// Holds folder and store against what callers hold. Returns how many records there are.
fn check(sidecar: &Sidecar, receipts: &[Receipt], kills: usize) -> usize {
    let mut places: HashMap<Receipt, usize> = HashMap::new();
    let mut decisions: HashMap<String, usize> = HashMap::new();
    for (receipt, _) in sidecar.records() {
        *decisions.entry(receipt.decision_id.clone()).or_default() += 1;
        *places.entry(receipt).or_default() += 1;
    }
    let found_once =
        |receipt: &&Receipt| places.get(*receipt) == Some(&1) && decisions.get(&receipt.decision_id) == Some(&1);
    let missing: Vec<_> = receipts.iter().filter(|receipt| !found_once(receipt)).collect();
    assert_eq!(missing, Vec::<&Receipt>::new(), "receipts that do not stand in the trail exactly once");
    assert_eq!(receipts.iter().collect::<HashSet<_>>().len(), receipts.len(), "no receipt was given twice");

    // The store has what the folder has, each record once, and so each receipt.
    let shipped = in_file(&sidecar.folder().join("store.trail.db"));
    let unshipped = places.keys().filter(|place| !shipped.contains(&(place.writer.clone(), place.seq))).count();
    assert_eq!((shipped.len(), unshipped), (places.len(), 0), "the store has not what the folder has");
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (writer, seq) in &shipped {
        let before = last.insert(writer, *seq).unwrap_or(0);
        assert_eq!(*seq, before + 1, "a gap in the store, of writer {writer}");
    }
    let store = verified(&format!("sqlite://{}", sidecar.folder().join("store.trail.db").display()));
    assert_eq!(store.code, Some(0), "{}{}", store.stdout, store.stderr);
    let report = sidecar.verify();
    assert_eq!(report.verdict, Verdict::Whole, "{:?} {:?}", report.findings, report.open_ends);
    assert_eq!(report.writers.len(), kills + 1, "one writer a start");
    places.len()
}

#[derive(Debug, Default)]
struct Asked {
    receipts: Vec<Receipt>,
    refused: usize,
}

/// Callers ask at once, half of them by the socket; after `enough` answers the process is killed while they go on.
fn ask_until_killed(sidecar: &mut Sidecar, enough: usize) -> Asked {
    let doors = sidecar.doors();
    let kept = Arc::new(Mutex::new(Asked::default()));
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

fn ask(doors: &Doors, caller: usize, kept: &Mutex<Asked>, answers: &AtomicUsize) {
    let question = ana_reads();
    // Killed before this caller was there: it holds nothing.
    let is_tcp = caller.is_multiple_of(2);
    let Ok(mut tcp) = is_tcp.then(|| doors.tcp_if_there()).transpose() else { return };
    let Ok(mut unix) = (!is_tcp).then(|| doors.unix_if_there()).transpose() else { return };
    loop {
        let told = match (&mut tcp, &mut unix) {
            (Some(tcp), _) => tcp.ask(&question),
            (None, Some(unix)) => unix.ask(&question),
            (None, None) => return,
        };
        // Killed before the whole answer was here: that caller holds nothing.
        let Ok(told) = told else { return };
        if told.status == 503 {
            kept.lock().unwrap().refused += 1;
            continue;
        }
        assert_eq!(told.status, 200, "{}", told.body);
        kept.lock().unwrap().receipts.push(told.receipt());
        answers.fetch_add(1, Ordering::Release);
    }
}
