"""How a bucket is to stand, set up and verified through boto3: versioning, object lock, lifecycle.

``apply`` brings a bucket to what the settings ask (needs s3:PutBucketVersioning, PutBucketObjectLockConfiguration,
PutLifecycleConfiguration); ``drift`` reads it and says in one line each what differs (needs the Get forms). A start only creates a
missing bucket; an existing one is never changed behind its operator's back: ``consilium storage setup`` does that.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from consilium_platform.settings import S3Place

INCOMPLETE_DAYS = 7


def error_code(problem: ClientError) -> str:
    """Return S3's code of an error."""
    return str(problem.response.get("Error", {}).get("Code", ""))


def create_bucket(client: Any, place: S3Place) -> None:
    """Create the bucket, with object lock if asked (it can't be switched on later everywhere), and bring it to its state."""
    given: dict[str, Any] = {"Bucket": place.bucket}
    if place.object_lock_days:
        given["ObjectLockEnabledForBucket"] = True
    if place.endpoint is None and place.region != "us-east-1":
        given["CreateBucketConfiguration"] = {"LocationConstraint": place.region}
    try:
        client.create_bucket(**given)
    except ClientError as problem:  # another process was faster
        if error_code(problem) != "BucketAlreadyOwnedByYou":
            raise
    apply(client, place)


def apply(client: Any, place: S3Place) -> None:
    """Bring versioning, object lock and lifecycle to what the place asks; does nothing to what it does not ask."""
    if place.versioning or place.object_lock_days:
        client.put_bucket_versioning(Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"})
    if place.object_lock_days:
        client.put_object_lock_configuration(Bucket=place.bucket, ObjectLockConfiguration=_lock(place))
    client.put_bucket_lifecycle_configuration(
        Bucket=place.bucket, LifecycleConfiguration={"Rules": lifecycle_rules(place)}
    )


def lifecycle_rules(place: S3Place) -> list[dict[str, Any]]:
    """Return the rules: originals are never expired by the store (a cold class is no end), what only passes through is."""
    rules = [
        _transition("consilium-cold", "originals/", place.cold_class, place.cold_days),
        _expiry("consilium-uploads", "uploads/", place.uploads_days),
        _expiry("consilium-quarantine", "quarantine/", place.quarantine_days),
        {
            "ID": "consilium-incomplete",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": INCOMPLETE_DAYS},
        },
    ]
    return [rule for rule in rules if rule]


def _expiry(name: str, prefix: str, days: int) -> dict[str, Any]:
    if not days:
        return {}
    return {
        "ID": name,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }


def _transition(name: str, prefix: str, storage_class: str, days: int) -> dict[str, Any]:
    if not storage_class:
        return {}
    moved = [{"Days": days, "StorageClass": storage_class}]
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Transitions": moved}


def _lock(place: S3Place) -> dict[str, Any]:
    rule = {"DefaultRetention": {"Mode": place.object_lock_mode, "Days": place.object_lock_days}}
    return {"ObjectLockEnabled": "Enabled", "Rule": rule}


def drift(client: Any, place: S3Place) -> list[str]:
    """Return what of the bucket differs from what the settings ask, one sentence each; empty when it stands as asked."""
    found: list[str] = []
    status = client.get_bucket_versioning(Bucket=place.bucket).get("Status", "Disabled")
    if (place.versioning or place.object_lock_days) and status != "Enabled":
        found.append(f"versioning is {status}, asked for: Enabled")
    if place.object_lock_days:
        found += _lock_drift(client, place)
    return found + _lifecycle_drift(client, place)


def _lock_drift(client: Any, place: S3Place) -> list[str]:
    try:
        stands = client.get_object_lock_configuration(Bucket=place.bucket)["ObjectLockConfiguration"]
    except ClientError as problem:
        if error_code(problem) in ("ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "404"):
            return ["object lock is off, asked for: on (a bucket takes it when it is made)"]
        raise
    rule = stands.get("Rule", {}).get("DefaultRetention", {})
    days = rule.get("Days", rule.get("Years", 0) * 365)
    if (rule.get("Mode"), days) != (place.object_lock_mode, place.object_lock_days):
        return [
            f"object lock is {rule.get('Mode')} {days} d, asked for: {place.object_lock_mode} {place.object_lock_days} d"
        ]
    return []


def _lifecycle_drift(client: Any, place: S3Place) -> list[str]:
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=place.bucket)["Rules"]
    except ClientError as problem:
        if error_code(problem) not in ("NoSuchLifecycleConfiguration", "404"):
            raise
        rules = []
    stands, found = {rule.get("ID", ""): _gist(rule) for rule in rules}, []
    wanted = {rule["ID"]: _gist(rule) for rule in lifecycle_rules(place)}
    for name, gist in wanted.items():
        if name not in stands:
            found.append(f"lifecycle rule {name} is missing")
        elif stands[name] != gist:
            found.append(f"lifecycle rule {name} is {stands[name]}, asked for: {gist}")
    for name in stands.keys() - wanted.keys():
        prefix, status, expiry = stands[name][:3]
        if status == "Enabled" and expiry and ("originals/".startswith(prefix) or prefix.startswith("originals/")):
            found.append(f"lifecycle rule {name or prefix} expires originals: nobody here asked for it")
    return found


def _gist(rule: dict[str, Any]) -> tuple[str, str, int, int, int, tuple[tuple[str, int], ...]]:
    """Return what matters of a rule: prefix, status, days until expiry, of old versions, of incomplete uploads; transitions."""
    prefix = rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))
    return (
        prefix,
        rule.get("Status", ""),
        rule.get("Expiration", {}).get("Days", 0),
        rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0),
        rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation", 0),
        tuple((one.get("StorageClass", ""), one.get("Days", 0)) for one in rule.get("Transitions", [])),
    )
