//! Facts about two tabs with one job: in browsers only, since natively a root has one owner.

use futures_util::future::join_all;
use persistency::sds::{
    ChannelMeta, HistoryUpdate, JobPersistence, Persistence, SnapshotPersistence, UnacknowledgedMessage,
};

use super::node::{CHANNEL, Node, message};
use crate::common::{SHARED, TestRoot};

facts! {
    on_disk:
        a_channel_moves_from_tab_to_tab,
        whole_saves_of_two_tabs_are_never_mixed;
}

/// The layer in each of two tabs; `None` where there are none.
async fn two(root: &TestRoot) -> Option<[JobPersistence; 2]> {
    if !SHARED {
        return None;
    }
    let open = async || JobPersistence::new(root.open().open_job("node").await.unwrap());
    Some([open().await, open().await])
}

async fn a_channel_moves_from_tab_to_tab(root: &TestRoot) {
    let Some(tabs) = two(root).await else { return };
    let mut expected = Vec::new();
    for turn in 0..6 {
        let mut node = Node::start(tabs[turn % 2].clone(), 5).await.unwrap();
        assert_eq!(node.ids(), expected);
        for id in ["z", "a", "m"].map(|id| format!("{id}{turn}")) {
            node.send(&id, 0).await;
            expected.push(id);
        }
        expected.drain(..expected.len().saturating_sub(5));
        assert_eq!(node.channel.meta().outgoing_buffer.len(), 3 * (turn + 1));
        assert!(node.unsaved.is_empty());
    }
    assert_eq!(tabs[0].load_channel(CHANNEL).await.unwrap(), tabs[1].load_channel(CHANNEL).await.unwrap());
}

async fn whole_saves_of_two_tabs_are_never_mixed(root: &TestRoot) {
    let Some(tabs) = two(root).await else { return };
    let metas: Vec<ChannelMeta> = (0..8)
        .map(|number| {
            let ids = (0..4).filter(|bit| number >> bit & 1 == 1);
            let message = |id| message(&format!("w{id}"), number, &[]);
            let waiting = |id| UnacknowledgedMessage { message: message(id), ..Default::default() };
            let outgoing_buffer = ids.map(waiting).collect();
            ChannelMeta { lamport: number, outgoing_buffer, ..ChannelMeta::default() }
        })
        .collect();
    for round in 0..4 {
        let saves = metas.iter().enumerate().map(async |(at, meta)| {
            let append = vec![message(&format!("{round} {at}"), meta.lamport, &[])];
            let update = HistoryUpdate { append, evict: vec![] };
            tabs[at % 2].save_channel(CHANNEL, meta, &update).await.unwrap();
        });
        join_all(saves).await;
        let found = tabs[round % 2].load_all_for_channel(CHANNEL).await.unwrap();
        assert_eq!(found, tabs[1 - round % 2].load_all_for_channel(CHANNEL).await.unwrap());
        assert_eq!(found.message_history.len(), 8 * (round + 1), "each of them was saved");
        let (meta, _) = found.into_parts();
        assert!(metas.contains(&meta), "a mixture: {meta:?}");
    }
}
