//! Pages as every browser reads them: whether or not it reads ranges from their end.

use super::*;
use crate::engine::{Page, PageRequest};
use crate::range::Span;
use crate::testing::{Random, async_test};

fn whole() -> PageRequest {
    PageRequest {
        space: Space::Rows(Arc::from("c")),
        span: Span::all(),
        reverse: false,
        rows_max: usize::MAX,
        bytes_max: usize::MAX,
        keys_only: false,
    }
}

async fn page(engine: &IndexedDbEngine, request: PageRequest) -> Page {
    engine.page(request, Verify::Never).await.expect("reads").value
}

/// What a page of these rows must be.
fn expected(rows: &[(Vec<u8>, Vec<u8>)], request: &PageRequest) -> Page {
    let mut page = Page::default();
    let mut bytes = 0usize;
    let mut within: Vec<_> = rows.iter().filter(|(key, _)| request.span.contains(key)).collect();
    if request.reverse {
        within.reverse();
    }
    for (key, payload) in within {
        let payload = if request.keys_only { Vec::new() } else { payload.clone() };
        bytes += key.len() + payload.len();
        if !page.rows.is_empty() && (page.rows.len() == request.rows_max || bytes > request.bytes_max) {
            page.more = true;
            break;
        }
        page.rows.push(key, &payload);
    }
    page
}

#[async_test]
async fn pages_are_the_same_whether_or_not_the_browser_reads_backwards() {
    let site = fresh_site();
    let engine = open(&site).await;
    let mut random = Random::new(11);
    let mut rows = Vec::new();
    for number in 0..2500u16 {
        let bytes = match random.below(50) {
            0 => 20_000 + random.below(60_000),
            _ => random.below(300),
        };
        rows.push((number.to_be_bytes().to_vec(), random.payload(bytes)));
    }
    let mut batch = Batch::new().put("b", key("x"), "neighbour").put("d", key("x"), "neighbour");
    for (row, payload) in &rows {
        batch = batch.put("c", key(row), payload.clone());
    }
    engine.apply(change(batch)).await.expect("applies");
    for round in 0..60 {
        let (start, end) = (random.below(2600) as u16, random.below(2600) as u16);
        let end = (round % 7 != 0).then(|| end.to_be_bytes().to_vec());
        let start = if round % 5 == 0 { Vec::new() } else { start.to_be_bytes().to_vec() };
        let request = PageRequest {
            span: Span { start, end },
            reverse: random.below(2) == 0,
            rows_max: [1, 63, 64, 65, 500, usize::MAX][random.below(6)],
            bytes_max: [0, 1000, 100_000, 2_000_000, usize::MAX][random.below(5)],
            keys_only: random.below(3) == 0,
            ..whole()
        };
        let wanted = expected(&rows, &request);
        for backwards in [true, false] {
            // Browsers that read ranges from their end are known by this method.
            let _patch =
                (!backwards).then(|| Patch::new("IDBObjectStore", "getAllRecords", "() => undefined"));
            let found = page(&engine, request.clone()).await;
            assert!(
                found == wanted,
                "{backwards}: {} rows of {} for {request:?}",
                found.rows.len(),
                wanted.rows.len()
            );
        }
    }
    end(&site, &engine).await;
}

#[async_test]
async fn points_beyond_one_round_come_back_in_order() {
    let site = fresh_site();
    let engine = open(&site).await;
    let mut batch = Batch::new();
    for number in 0..3000u16 {
        batch = batch.put("c", key(number.to_be_bytes()), number.to_le_bytes());
    }
    engine.apply(change(batch)).await.expect("applies");
    let points = (0..3000u16).rev().map(|number| row(number.to_be_bytes())).collect();
    let get = Get { points, presence_only: false, bytes_max: 6000 };
    let Got::Payloads(payloads) = engine.get(get, Verify::Never).await.expect("gets").value else {
        panic!("fits");
    };
    let expected: Vec<_> = (0..3000u16).rev().map(|number| Some(number.to_le_bytes().to_vec())).collect();
    assert!(payloads == expected);
    end(&site, &engine).await;
}
