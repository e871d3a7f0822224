//! A web service whose handler asks its job.

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, test, web};
use millstream::prelude::*;
use millstream::request::Ask;

use crate::common::{checkpointed, run, watched};
use crate::{Balance, Bank, Deposit, bank, open, options};

async fn deposit(path: web::Path<(String, u64, u64)>, bank: web::Data<Bank>) -> HttpResponse {
    let (id, account, amount) = path.into_inner();
    let ask = Ask::new(Deposit { account, amount }).key(&account).idempotency_key(id);
    match bank.ask(ask).await {
        Ok(Balance { deposits, sum }) => HttpResponse::Ok().body(format!("{deposits} {sum}")),
        Err(AskError::Rejected { reason, .. }) => HttpResponse::UnprocessableEntity().body(reason),
        Err(error) if error.is_retryable() => HttpResponse::ServiceUnavailable().finish(),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

// Guarantees A1, A2.
#[::core::prelude::v1::test]
fn handler_answers_each_request_once_over_panics_and_the_next_start() {
    run("a handler", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..2 {
            let (source, requests) = open(folder.path(), options());
            let panics = crate::common::CountedPanics::at(&[1, 2]);
            let env =
                checkpointed("bank", 2, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            bank(&env, (source, &requests), move || panics.count_and_panic());
            let job = env.start().unwrap();
            watched(&handles, &job);
            let app = App::new()
                .app_data(web::Data::new(requests))
                .route("/{id}/{account}/{amount}", web::post().to(deposit));
            let app = test::init_service(app).await;
            let told = async |path: &str| {
                let response = test::call_service(&app, test::TestRequest::post().uri(path).to_request()).await;
                let status = response.status();
                (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
            };
            for _ in 0..2 {
                assert_eq!(told("/a/7/100").await, (StatusCode::OK, "1 100".to_owned()));
                assert_eq!(told("/b/7/20").await, (StatusCode::OK, "2 120".to_owned()));
                let (status, why) = told("/c/7/0").await;
                assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
                assert!(why.contains("nothing to deposit"), "{why}");
            }
            let (status, _) = told(&format!("/{life}/8/1")).await;
            assert_eq!(status, StatusCode::OK);
            job.drain().await.unwrap();
            assert_eq!(told("/d/7/1").await.0, StatusCode::SERVICE_UNAVAILABLE);
        }
    });
}
