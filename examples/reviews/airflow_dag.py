"""Airflow 3: a task that fails, without another try, where the model looks elsewhere."""

from datetime import UTC, datetime, timedelta

# Its home in all of Airflow 3; newer ones warn, and have it in airflow.sdk.exceptions, too.
from airflow.exceptions import AirflowFailException
from airflow.sdk import dag, task


@dag(
    schedule="30 6 * * MON",
    start_date=datetime(2026, 1, 5, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
)
def review_the_model() -> None:
    @task
    def review() -> str:
        from camfleet import Client

        with Client.from_environ() as client:
            verdict = client.reviews.run("weekly", if_new=True, timeout=3600)
        if verdict.verdict == "moved":
            raise AirflowFailException("; ".join(verdict.reasons))
        if verdict.verdict != "pass":
            raise RuntimeError(f"{verdict.verdict}: {'; '.join(verdict.reasons)}")
        return verdict.page or ""

    review()


review_the_model()
