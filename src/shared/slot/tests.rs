//! loom runs two writers and a reader in the orders in which their accesses can take effect,
//! including loads that return an older value, as relaxed loads may.
#![allow(clippy::arithmetic_side_effects, reason = "test code")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::*;

/// The words of the content.
const CONTENT: usize = 2;
const FIRST: [u64; CONTENT] = [1, 1];
const SECOND: [u64; CONTENT] = [2, 2];
const LATER: [u64; CONTENT] = [3, 3];
/// The number of times that one process is interrupted for another one. Without this bound, loom
/// tries 177,412 orders for two complete writes, which takes 5 s of CPU time and finds the same.
const PREEMPTIONS: usize = 3;
/// More stores than any writer makes.
const NEVER: usize = 10;

/// A word as one process sees it.
struct ModelWord {
    word: Arc<AtomicU64>,
    /// The number of stores until the process is killed. Later stores have no effect.
    stores: Rc<Cell<usize>>,
}

impl Word for ModelWord {
    fn load(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    fn store(&self, value: u64) {
        if let Some(left) = self.stores.get().checked_sub(1) {
            self.stores.set(left);
            self.word.store(value, Ordering::Relaxed);
        }
    }
}

/// A checksum that is different for all contents of this test.
fn perfect(content: &[u64]) -> [u64; 1] {
    [content.iter().fold(100, |sum, word| sum * 10 + word)]
}

/// No checksum at all.
fn missing(_: &[u64]) -> [u64; 0] {
    []
}

/// The contents that reads return; `None` stands for an invalid slot.
type Contents = BTreeSet<Option<Vec<u64>>>;

/// Lets two processes write a slot, of which the first is killed after so many stores, while a
/// third one reads it. Then a fourth one writes and reads. Returns the contents that the third one
/// has read in all orders, and those of the fourth one.
fn explore<const N: usize>(stores: usize, checksum: fn(&[u64]) -> [u64; N]) -> [Contents; 2] {
    let found = Arc::new(Mutex::new([Contents::new(), Contents::new()]));
    let results = Arc::clone(&found);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(move || {
        let words: Vec<_> = (0..CONTENT + N).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let view = |words: &[Arc<AtomicU64>], stores| -> Vec<ModelWord> {
            let stores = Rc::new(Cell::new(stores));
            words.iter().map(|w| ModelWord { word: w.clone(), stores: stores.clone() }).collect()
        };
        let writers = [(FIRST, stores), (SECOND, NEVER)].map(|(content, stores)| {
            let words = words.clone();
            thread::spawn(move || {
                write(&view(&words, stores), Zeroizing::new(content.to_vec()), checksum);
            })
        });
        let slot = view(&words, NEVER);
        let content = || read(&slot, checksum).map(|content| content.to_vec());
        let while_written = content();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        write(&slot, Zeroizing::new(LATER.to_vec()), checksum);
        let [while_written_set, later_set] = &mut *results.lock().unwrap();
        while_written_set.insert(while_written);
        later_set.insert(content());
    });
    std::mem::take(&mut *found.lock().unwrap())
}

#[test]
fn a_reader_gets_nothing_or_exactly_what_one_writer_wrote() {
    for stores in 1..=CONTENT + 1 {
        let [while_written, later] = explore(stores, perfect);
        let mut want = Contents::from([None, Some(SECOND.to_vec())]);
        if stores > CONTENT {
            want.insert(Some(FIRST.to_vec()));
        }
        assert_eq!(while_written, want, "the first writer is killed after {stores} stores");
        assert_eq!(later, Contents::from([Some(LATER.to_vec())]), "the next write repairs it");
    }
}

/// Shows that the test above would fail if the protocol had no checksum.
#[test]
fn without_a_checksum_a_reader_gets_mixtures() {
    let [while_written, _] = explore(NEVER, missing);
    for mixture in [[1, 2], [2, 1], [0, 2], [1, 0]] {
        assert!(while_written.contains(&Some(mixture.to_vec())), "{while_written:?}");
    }
}
