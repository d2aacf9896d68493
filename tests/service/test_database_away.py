"""The database goes and comes back while the service runs."""

from autocompress.tests.service.served import served


def test_a_database_that_is_away_is_said_and_used_again_when_it_is_back(postgres_server, tmp_path):
    with served(tmp_path, database=postgres_server.new_database()) as site:
        token = site.token()
        path = site.ask("POST", "/v1/searches", {"trials": 3}, token=token).headers["Location"]
        postgres_server.stop()
        try:
            away = site.ask("GET", path, token=token)
        finally:
            postgres_server.start()
        assert away.status == 503 and "try again when it is back" in away.json["detail"]
        assert site.ask("GET", path, token=token).json["state"] == "queued"
