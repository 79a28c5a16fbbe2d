//! Facts about failures: saving is tried again, loading and dropping surface, nothing is lost or half.

use futures_util::poll;
use persistency::ErrorKind;
use persistency::sds::{
    Channel, ChannelMeta, Fault, FaultyPersistence, HistoryUpdate, MemoryPersistence, Operation, Persistence,
    SnapshotPersistence,
};

use super::node::{CHANNEL, Node, Place, message};
use crate::common::{TestRoot, kind};

facts! {
    everywhere:
        a_channel_that_cannot_be_loaded_does_not_start,
        a_meta_save_that_fails_does_not_surface_and_the_next_operation_heals_it,
        a_history_update_that_fails_does_not_surface,
        messages_that_could_not_be_written_are_written_with_the_next,
        a_message_that_is_evicted_and_added_again_while_writing_fails_is_kept,
        waiting_changes_are_written_by_an_operation_that_changes_no_history,
        a_drop_that_fails_surfaces_and_keeps_the_channel,
        a_removal_that_is_given_up_is_made_good_by_the_next_save,
        a_message_that_cannot_be_stored_keeps_a_channel_from_being_saved_only_until_it_goes,
        meta_and_history_of_one_operation_are_stored_together_or_not_at_all,
        a_save_whose_answer_is_lost_can_be_repeated,
        a_history_of_which_too_much_waits_is_written_as_a_whole,
        nothing_is_written_when_nothing_has_changed,
        a_closed_job_is_an_error_of_every_operation;
}

const FULL: Fault = Fault::Refused(ErrorKind::StorageFull);

async fn faulty(place: &mut Place<'_>) -> FaultyPersistence {
    place.restart().await;
    FaultyPersistence::over(place.store.clone())
}

async fn a_channel_that_cannot_be_loaded_does_not_start(root: &TestRoot) {
    let mut place = Place::new(root).await;
    place.node(10).await.send("m1", 0).await;
    let faulty = faulty(&mut place).await;
    faulty.inject_times(Operation::LoadAllForChannel, Fault::Refused(ErrorKind::Backend), 1);
    assert_eq!(kind(Channel::open(faulty.clone(), CHANNEL, 10).await), ErrorKind::Backend);
    assert_eq!(Node::start(faulty, 10).await.unwrap().ids(), ["m1"]);
    assert_eq!(kind(Channel::open(MemoryPersistence::new(), CHANNEL, 0).await), ErrorKind::InvalidArgument);
}

async fn a_meta_save_that_fails_does_not_surface_and_the_next_operation_heals_it(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    faulty.inject_times(Operation::SaveChannelMeta, FULL, 1);
    node.ask_for_repair("m1", 5).await;
    assert_eq!(node.unsaved.len(), 1);
    assert!(!node.channel.is_saved() && node.channel.meta().outgoing_repair.contains_key("m1"));
    assert_eq!(place.store.load_channel(CHANNEL).await.unwrap().meta, ChannelMeta::default());
    node.ask_for_repair("m2", 6).await;
    let node = place.node(10).await;
    assert_eq!(Vec::from_iter(node.channel.meta().outgoing_repair.keys()), ["m1", "m2"]);
}

async fn a_history_update_that_fails_does_not_surface(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    faulty.inject(Operation::UpdateHistory, FULL);
    node.receive(message("m1", 1, &[])).await;
    assert_eq!((node.delivered.len(), node.unsaved.len()), (1, 1));
    assert_eq!(node.unsaved[0].kind(), ErrorKind::StorageFull);
    assert_eq!(node.ids(), ["m1"]);
}

async fn messages_that_could_not_be_written_are_written_with_the_next(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    faulty.inject_times(Operation::UpdateHistory, FULL, 2);
    node.receive(message("m2", 1, &[])).await;
    node.receive(message("m1", 2, &[])).await;
    assert!(place.store.load_channel(CHANNEL).await.unwrap().message_history.is_empty());
    node.receive(message("m3", 3, &[])).await;
    assert_eq!(node.unsaved.len(), 2);
    assert_eq!(place.node(10).await.ids(), ["m2", "m1", "m3"]);
}

async fn a_message_that_is_evicted_and_added_again_while_writing_fails_is_kept(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 2).await.unwrap();
    node.receive(message("m1", 1, &[])).await;
    node.receive(message("m2", 2, &[])).await;
    faulty.inject(Operation::UpdateHistory, FULL);
    node.receive(message("m3", 3, &[])).await;
    node.channel.append(message("m1", 1, &[]));
    node.end().await;
    faulty.heal(Operation::UpdateHistory);
    node.end().await;
    assert_eq!(node.ids(), ["m3", "m1"]);
    assert_eq!(place.node(2).await.ids(), ["m3", "m1"]);
}

async fn waiting_changes_are_written_by_an_operation_that_changes_no_history(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    faulty.inject_times(Operation::UpdateHistory, FULL, 1);
    node.send("m1", 0).await;
    node.acknowledge("m1").await;
    assert!(node.channel.is_saved());
    let node = place.node(10).await;
    assert_eq!(node.ids(), ["m1"]);
    assert!(node.channel.meta().outgoing_buffer.is_empty());
}

async fn a_drop_that_fails_surfaces_and_keeps_the_channel(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 10).await.unwrap();
    node.send("m1", 0).await;
    faulty.inject_times(Operation::DropChannel, Fault::Refused(ErrorKind::Backend), 1);
    assert_eq!(kind(node.channel.remove().await), ErrorKind::Backend);
    assert_eq!(node.ids(), ["m1"]);
    assert_eq!(place.store.load_channel(CHANNEL).await.unwrap().message_history.len(), 1);
    node.channel.remove().await.unwrap();
    assert_eq!(faulty.calls(Operation::DropChannel), 2);
    assert_eq!(place.node(10).await.ids(), [""; 0]);
}

async fn a_removal_that_is_given_up_is_made_good_by_the_next_save(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let mut node = place.node(10).await;
    node.send("m1", 0).await;
    node.send("m2", 0).await;
    let mut removal = Box::pin(node.channel.remove());
    let given_up = poll!(&mut removal).is_pending();
    drop(removal);
    if given_up {
        assert!(!node.channel.is_saved());
        node.receive(message("m3", 9, &[])).await;
        let meta = node.channel.meta().clone();
        let node = place.node(10).await;
        assert_eq!((node.ids(), node.channel.meta()), (vec!["m1", "m2", "m3"], &meta));
    }
}

async fn a_message_that_cannot_be_stored_keeps_a_channel_from_being_saved_only_until_it_goes(
    root: &TestRoot,
) {
    let mut place = Place::new(root).await;
    let mut node = place.node(2).await;
    node.receive(message(&"x".repeat(70_000), 1, &[])).await;
    node.receive(message("m1", 2, &[])).await;
    assert_eq!(node.unsaved.len(), 2);
    node.receive(message("m2", 3, &[])).await;
    assert!(node.unsaved.len() == 2 && node.channel.is_saved(), "it has been evicted");
    assert_eq!(place.node(2).await.ids(), ["m1", "m2"]);
}

async fn meta_and_history_of_one_operation_are_stored_together_or_not_at_all(root: &TestRoot) {
    let place = Place::new(root).await;
    let meta = ChannelMeta { lamport: 1, ..ChannelMeta::default() };
    let too_long = "x".repeat(70_000);
    let update =
        HistoryUpdate { append: vec![message("m1", 1, &[]), message(&too_long, 1, &[])], evict: vec![] };
    assert_eq!(kind(place.store.save_channel(CHANNEL, &meta, &update).await), ErrorKind::TooLarge);
    assert_eq!(place.store.load_channel(CHANNEL).await.unwrap(), Default::default());

    let before = place.store.job().committed_seq();
    let update = HistoryUpdate { append: vec![message("m1", 1, &[])], evict: vec!["m0".to_owned()] };
    place.store.save_channel(CHANNEL, &meta, &update).await.unwrap();
    assert_eq!(place.store.job().committed_seq(), before + 1, "one batch");
}

async fn a_save_whose_answer_is_lost_can_be_repeated(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 2).await.unwrap();
    for operation in [Operation::SaveChannel, Operation::SaveChannelMeta, Operation::UpdateHistory] {
        faulty.inject_times(operation, Fault::AnswerLost(ErrorKind::Timeout), 1);
    }
    for id in ["m1", "m2", "m3", "m4", "m5"] {
        node.send(id, 0).await;
    }
    assert_eq!(node.unsaved.len(), 3);
    let (ids, meta) = (["m4", "m5"], node.channel.meta().clone());
    let node = place.node(2).await;
    assert_eq!((node.ids(), node.channel.meta()), (ids.to_vec(), &meta));
}

async fn a_history_of_which_too_much_waits_is_written_as_a_whole(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 3).await.unwrap();
    for id in ["a", "b", "c"] {
        node.send(id, 0).await;
    }
    faulty.inject(Operation::UpdateHistory, FULL);
    for number in 0..40 {
        node.send(&format!("m{number}"), 0).await;
    }
    faulty.inject_times(Operation::LoadChannel, FULL, 1);
    faulty.heal(Operation::UpdateHistory);
    node.end().await;
    assert!(!node.channel.is_saved(), "what is stored could not be looked at");
    node.end().await;
    assert!(node.channel.is_saved());
    assert_eq!(place.node(50).await.ids(), ["m37", "m38", "m39"]);
}

async fn nothing_is_written_when_nothing_has_changed(root: &TestRoot) {
    let mut place = Place::new(root).await;
    let faulty = faulty(&mut place).await;
    let mut node = Node::start(faulty.clone(), 3).await.unwrap();
    node.end().await;
    node.send("m1", 0).await;
    let seq = place.store.job().committed_seq();
    node.end().await;
    let saves = [Operation::SaveChannel, Operation::SaveChannelMeta, Operation::UpdateHistory];
    assert_eq!(saves.map(|operation| faulty.calls(operation)), [1, 0, 0]);

    // Said again, it is no commit either.
    place.store.save_channel_meta(CHANNEL, node.channel.meta()).await.unwrap();
    place.store.update_history(CHANNEL, &HistoryUpdate::default()).await.unwrap();
    assert_eq!(place.store.job().committed_seq(), seq);
}

async fn a_closed_job_is_an_error_of_every_operation(root: &TestRoot) {
    let p = root.open();
    let store = persistency::sds::JobPersistence::new(p.open_job("node").await.unwrap());
    store.save_lamport(CHANNEL, 1).await.unwrap();
    p.close().await.unwrap();
    assert_eq!(kind(store.save_lamport(CHANNEL, 2).await), ErrorKind::Closed);
    assert_eq!(kind(store.save_channel_meta(CHANNEL, &ChannelMeta::default()).await), ErrorKind::Closed);
    assert_eq!(kind(store.load_all_for_channel(CHANNEL).await), ErrorKind::Closed);
    let error = store.drop_channel(CHANNEL).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    for part in ["sds channel \"general\"", "drop_channel"] {
        assert!(error.message().contains(part), "{error}");
    }
}
