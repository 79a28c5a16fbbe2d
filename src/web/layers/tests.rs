//! Facts about the operation itself, over an object that no layer has.

use std::future::pending;
use std::rc::Weak;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use super::*;
use crate::persistency::Persistency;
use crate::testing::{Random, async_test, test};

/// Answers what it is asked to.
struct Mirror;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Thing {
    the_number: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    more: Option<String>,
}

#[async_trait(?Send)]
impl Object for Mirror {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        match method {
            "things" => Answer::value(&args.read::<(Thing, Vec<Thing>)>()?),
            "nothing" => args.none().map(|()| Answer::nothing()),
            "another" => args.none().map(|()| Answer::nothing().with(Mirror)),
            "wait" => pending().await,
            _ => Err(no_method(method)),
        }
    }
}

async fn job() -> Owner {
    Owner::Job(Persistency::open(":memory:").unwrap().open_job("alpha").await.unwrap())
}

/// The objects of a job, of which number 1 is a mirror.
fn objects() -> Rc<Objects> {
    let objects = Rc::<Objects>::default();
    objects.all.insert(1, Rc::new(Mirror));
    objects
}

fn packed(args: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(args).unwrap()
}

fn body(number: u32, makes: u32, method: &str, args: &[u8]) -> Vec<u8> {
    let mut out = Output::default();
    out.count(number as usize).count(makes as usize).bytes(method.as_bytes()).bytes(args);
    out.0
}

fn none() -> Vec<u8> {
    packed(&[(); 0])
}

fn thing(the_number: u64, bytes: &[u8]) -> Thing {
    Thing { the_number, bytes: bytes.to_vec(), more: None }
}

fn is_refused<T>(result: Result<T>, kind: ErrorKind, words: &str) {
    assert_eq!(result.map(drop).unwrap_err().kind(), kind, "{words}");
}

#[test]
fn arguments_are_read_with_their_names_and_whole_numbers() {
    let args = (thing(u64::MAX, b""), vec![thing(0, b"\0\xff"), thing(1 << 53 | 1, b"b")]);
    let packed = packed(&args);
    assert_eq!(Args(&packed).read::<(Thing, Vec<Thing>)>().unwrap(), args);
    assert!(packed.windows(9).any(|name| name == b"theNumber"));
    Args(&none()).none().unwrap();
}

#[test]
fn other_arguments_are_refused() {
    let [one, two] = [packed(&(7,)), packed(&(7, 8))];
    let deep = [[0x91].repeat(DEPTH).as_slice(), &[0x90]].concat();
    for (args, words) in [
        (&two[..1], "an early end"),
        (&two, "one too many"),
        (&[], "nothing"),
        (&none(), "one too few"),
        (&packed(&("7",)), "a string"),
        (&packed(&(-7,)), "a sign"),
        (&packed(&(7.5,)), "a fraction"),
        (&[one.clone(), one].concat(), "a second list"),
        (&[0xc1], "no MessagePack"),
        (&deep, "a deep list"),
    ] {
        is_refused(Args(args).read::<(u64,)>(), ErrorKind::InvalidArgument, words);
        is_refused(Args(args).read::<(Thing,)>(), ErrorKind::InvalidArgument, words);
    }
    is_refused(Args(&deep).read::<serde::de::IgnoredAny>(), ErrorKind::InvalidArgument, "a deep list");
    is_refused(Args(&two).none(), ErrorKind::InvalidArgument, "some for none");
}

/// More than arguments may have.
const DEPTH: usize = 100_000;

#[async_test]
async fn a_body_of_anything_is_answered_or_refused() {
    let (job, objects, mut random) = (job().await, objects(), Random::new(17));
    for _ in 0..3_000 {
        let args = packed(&(thing(random.word(), &random.bytes(4)), [thing(7, b"7")]));
        let mut body = body(1, 0, "things", &args);
        let at = random.below(body.len());
        body[at] = random.word() as u8;
        body.truncate(body.len() - random.below(3));
        let Ok(call) = objects.call(&job, &body) else { continue };
        if let Err(error) = call.await {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }
}

#[async_test]
async fn a_call_answers_what_its_object_says_and_an_error_says_where() {
    let (job, objects) = (job().await, objects());
    let args = packed(&(thing(7, b"b"), Vec::<Thing>::new()));
    let answer = objects.call(&job, &body(1, 0, "things", &args)).unwrap().await.unwrap();
    assert_eq!(Input::new(&answer.0).bytes(), args);
    assert!(objects.call(&job, &body(1, 0, "nothing", &none())).unwrap().await.unwrap().0.is_empty());
    for number in [0, 1] {
        let error = objects.call(&job, &body(number, 0, "other", &none())).unwrap().await.unwrap_err();
        assert!(error.message().starts_with("job \"alpha\", other: "), "{error}");
    }
    is_refused(objects.call(&job, &body(2, 0, "nothing", &none())), ErrorKind::InvalidArgument, "absent");
}

#[async_test]
async fn what_a_call_makes_has_the_number_that_the_page_gave_until_it_is_dropped() {
    let (job, objects) = (job().await, objects());
    let calls = |number, makes, method| objects.call(&job, &body(number, makes, method, &none()));
    calls(1, 7, "another").unwrap().await.unwrap();
    is_refused(calls(1, 7, "another"), ErrorKind::InvalidArgument, "the number is taken");
    is_refused(calls(1, 0, "another").unwrap().await, ErrorKind::InvalidArgument, "no number");
    is_refused(calls(1, 8, "nothing").unwrap().await, ErrorKind::InvalidArgument, "nothing made");
    let waiting = calls(7, 0, "wait").unwrap();
    let made: Weak<dyn Object> = Rc::downgrade(&objects.all.get(7).unwrap());
    objects.leave(&7u32.to_be_bytes()).unwrap();
    objects.leave(&7u32.to_be_bytes()).unwrap();
    is_refused(calls(7, 0, "nothing"), ErrorKind::InvalidArgument, "dropped");
    assert!(made.upgrade().is_some(), "a call goes on");
    drop(waiting);
    assert!(made.upgrade().is_none());
    is_refused(objects.leave(b"7"), ErrorKind::InvalidArgument, "no number");
}

#[async_test]
async fn calls_their_bytes_and_objects_have_bounds_and_leave_room_when_they_end() {
    let (job, objects) = (job().await, objects());
    let calls = |makes, method, args: &[u8]| objects.call(&job, &body(1, makes, method, args));
    let mut waiting: Vec<_> =
        (0..CALLS_MAX).map(|_| calls(0, "wait", &none()).unwrap().boxed_local()).collect();
    is_refused(calls(0, "nothing", &none()), ErrorKind::Overloaded, "calls");
    assert!((&mut waiting[0]).now_or_never().is_none());
    waiting.clear();

    let large = vec![0xc1; CALL_BYTES_MAX + 1];
    let alone = calls(0, "nothing", &large).unwrap();
    is_refused(calls(0, "nothing", &none()), ErrorKind::Overloaded, "bytes");
    drop(alone);

    for number in 2..=OBJECTS_MAX as u32 {
        calls(number, "another", &none()).unwrap().await.unwrap();
    }
    is_refused(calls(5_000, "another", &none()).unwrap().await, ErrorKind::Overloaded, "objects");
    objects.leave(&2u32.to_be_bytes()).unwrap();
    calls(5_000, "another", &none()).unwrap().await.unwrap();
}
