"""The answers that make a remote of each kind."""

# For each kind of remote: answers, and the commands by which a person does the same.
ADD = ("remote", "add", "--default", "storage")
MODIFY = ("remote", "modify", "storage")
BY_HAND = {
    "a folder": ({"remote": "local", "remote_url": "/mnt/our store"}, [(*ADD, "/mnt/our store")]),
    "a folder beside it": ({"remote": "local", "remote_url": " ../store"}, [(*ADD, "../store")]),
    "a folder of each person": ({"remote": "local", "remote_url": "~/store"}, [(*ADD, "~/store")]),
    "s3": (
        {
            "remote": "s3",
            "remote_url": "s3://bucket/a/path.x",
            "remote_endpoint": "http://127.0.0.1:9000",
            "remote_profile": "team",
        },
        [
            (*ADD, "s3://bucket/a/path.x"),
            (*MODIFY, "endpointurl", "http://127.0.0.1:9000"),
            (*MODIFY, "profile", "team"),
        ],
    ),
    "gs": ({"remote": "gs", "remote_url": "gs://bucket"}, [(*ADD, "gs://bucket")]),
    "azure": (
        {"remote": "azure", "remote_url": "azure://container/path", "remote_account": "ours"},
        [(*ADD, "azure://container/path"), (*MODIFY, "account_name", "ours")],
    ),
    "ssh": (
        {"remote": "ssh", "remote_url": "ssh://ada@host:2222/srv/store"},
        [(*ADD, "ssh://ada@host:2222/srv/store")],
    ),
}
