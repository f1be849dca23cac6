/* The device: it has a key, gets a certificate, stores it, publishes, and renews in time. */
#include "device.h"
#include <mbedtls/md.h>
#include <stdio.h>
#include <string.h>

enum { DAY = 86400, HOUR = 3600, PUBLISH_EVERY = HOUR };
#ifndef BOOT_SPREAD
#define BOOT_SPREAD 30 /* seconds: a power cut must not make a crowd */
#endif

/* A slot of the storage. The digest shows a torn write; the greater number is the newer one. */
struct record {
    uint32_t number;
    struct identity identity;
    unsigned char digest[32];
};
static struct record current, next; /* `next` takes what an answer brings */

static uint32_t random_below(uint32_t limit)
{
    uint32_t value = 0;

    return port_random(NULL, (unsigned char *)&value, sizeof value) == 0 && limit > 0 ? value % limit : 0;
}

/* min(cap, base * 2^(failures - 1)), and up to a half of it more. */
static uint32_t pause_of(uint32_t base, uint32_t cap, uint32_t failures)
{
    uint32_t pause = base;

    while (--failures > 0 && pause < cap)
        pause *= 2;
    pause = pause > cap && base < cap ? cap : pause;
    return pause + random_below(pause / 2 + 1);
}

/* The contract's "Retrying". `failures` counts from 1 since the last success or turn. */
static uint32_t retry_pause(enum outcome outcome, uint32_t retry_after, uint32_t failures)
{
    if (outcome == TURN)
        return retry_after + random_below((retry_after / 2 < 10 ? retry_after / 2 : 10) + 1);
    if (outcome == RARELY)
        return pause_of(HOUR, DAY, failures);
    return retry_after ? pause_of(retry_after, HOUR, failures) : pause_of(1, 300, failures);
}

/* RFC 3339 in UTC, as seconds since 1970; 0 for anything else. */
static int64_t moment(const char *text)
{
    int year, month, day, hour, minute, second;
    int64_t days;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &year, &month, &day, &hour, &minute, &second) != 6 || month < 1)
        return 0;
    year -= month <= 2; /* years begin in March, so that the leap day is the last one */
    days = 365LL * year + year / 4 - year / 100 + year / 400;
    days += (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 719469;
    return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

/* `unchanged` counts the requests in the window that brought the same certificate. No clock: once a day. */
static uint32_t until_renewal(const struct identity *identity, uint32_t unchanged)
{
    int64_t left = moment(identity->renew_after) - port_now();

    if (port_now() == 0)
        return DAY;
    if (left > 0)
        return left < 0x7fffffff ? (uint32_t)left : 0x7fffffff;
    return unchanged ? pause_of(HOUR, DAY, unchanged) : 0;
}

static int digest_of(const struct record *record, unsigned char *digest)
{
    return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), (const unsigned char *)record,
                      offsetof(struct record, digest), digest);
}

static int read_record(int slot, struct record *record)
{
    unsigned char digest[32];

    if (port_read_slot(slot, record, sizeof *record) == 0 && digest_of(record, digest) == 0 &&
        memcmp(digest, record->digest, sizeof digest) == 0)
        return 0;
    memset(record, 0, sizeof *record);
    return -1;
}

/* The newest complete record; its slot, or -1. */
static int load(void)
{
    int newest = read_record(0, &current) == 0 ? 0 : -1;

    if (read_record(1, &next) == 0 && (newest < 0 || next.number > current.number)) {
        current = next;
        newest = 1;
    }
    return newest;
}

/* Write what was given into the other slot: until its digest is complete, the present one counts. */
static int store(int *slot)
{
    int other = *slot == 0 ? 1 : 0;

    next.number = current.number + 1;
    if (digest_of(&next, next.digest) != 0 || port_write_slot(other, &next, sizeof next) != 0)
        return -1;
    current = next;
    *slot = other;
    return 0;
}

int main(void)
{
    mbedtls_pk_context key;
    uint32_t retry_after, failures = 0, unchanged = 0, missed = 0, wait, until_post, until_publish = 0;
    enum outcome outcome = SOON;
    enum publishing publishing = UNREACHABLE;
    int slot, stopped;

    mbedtls_pk_init(&key);
    if (port_key(&key) != 0) {
        port_log("there is no key");
        return 1;
    }
    slot = load();
    until_post = slot < 0 ? 0 : until_renewal(&current.identity, 0);
    stopped = port_wait(random_below(BOOT_SPREAD + 1));
    while (!stopped) {
        if (until_post == 0) {
            outcome = provision(&key, &next.identity, &retry_after);
            failures = outcome == GIVEN || outcome == TURN ? 0 : failures + 1;
            if (outcome == NEVER)
                break; /* a fault of the firmware: only a restart may help */
            if (outcome == GIVEN && strcmp(next.identity.certificate_id, current.identity.certificate_id) == 0) {
                unchanged = port_now() < moment(next.identity.renew_after) ? 0 : unchanged + 1;
            } else if (outcome == GIVEN && store(&slot) == 0) {
                unchanged = 0;
                port_log("certificate %s", next.identity.certificate_id);
            } else if (outcome == GIVEN) {
                port_log("the certificate could not be stored");
                outcome = SOON;
                failures++;
            }
            until_post = outcome == GIVEN ? until_renewal(&current.identity, unchanged)
                                          : retry_pause(outcome, retry_after, failures);
        }
        if (slot >= 0) {
            publishing = mqtt_publish(&key, &current.identity, "hello", "hello");
            port_log(publishing == PUBLISHED ? "published" : publishing == REFUSED ? "refused" : "unreachable");
            missed = publishing == PUBLISHED ? 0 : missed + 1;
            until_publish = missed ? pause_of(1, 300, missed) : PUBLISH_EVERY;
            if (publishing == REFUSED && until_post > until_publish)
                until_post = until_publish; /* the service may have issued a new certificate since */
        }
        wait = slot >= 0 && until_post > until_publish ? until_publish : until_post;
        stopped = port_wait(wait);
        until_post -= wait;
    }
    mbedtls_pk_free(&key);
    return publishing == PUBLISHED ? 0 : 2 + (int)outcome;
}
