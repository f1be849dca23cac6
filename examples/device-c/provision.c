/* One request of the wire contract: the CSR out, the certificate or the refusal in. */
#include "device.h"
#include <mbedtls/base64.h>
#include <mbedtls/md.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_csr.h>
#include <stdio.h>
#include <string.h>

enum { LARGEST_CSR = 1536, LARGEST_REQUEST = 3072 };

/* The CSR in DER, signed anew, as base64. 0 on success. */
static int signing_request(mbedtls_pk_context *key, char *text, size_t size)
{
    unsigned char der[LARGEST_CSR];
    char subject[80];
    mbedtls_x509write_csr csr;
    size_t written;
    int length = -1;

    mbedtls_x509write_csr_init(&csr);
    mbedtls_x509write_csr_set_md_alg(&csr, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&csr, key);
    snprintf(subject, sizeof subject, "CN=%s", port_settings()->device_id);
    if (mbedtls_x509write_csr_set_subject_name(&csr, subject) == 0)
        length = mbedtls_x509write_csr_der(&csr, der, sizeof der, port_random, NULL);
    mbedtls_x509write_csr_free(&csr);
    if (length <= 0)
        return -1;
    /* Mbed TLS writes from the end of the buffer. */
    return mbedtls_base64_encode((unsigned char *)text, size, &written, der + sizeof der - length, (size_t)length);
}

static int is_only(const char *text, const char *allowed)
{
    size_t length = strlen(text);

    return length > 0 && strspn(text, allowed) == length;
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* Whether the certificate is one, is the one of its id, and names the device's own key. */
static int is_own(const struct identity *identity, mbedtls_pk_context *key)
{
    unsigned char digest[32];
    char id[65];
    mbedtls_x509_crt certificate;
    int i, good;

    mbedtls_x509_crt_init(&certificate);
    good = mbedtls_x509_crt_parse(&certificate, (const unsigned char *)identity->certificate,
                                  strlen(identity->certificate) + 1) == 0 &&
           certificate.next == NULL &&
           mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), certificate.raw.p, certificate.raw.len,
                      digest) == 0;
    for (i = 0; good && i < 32; i++)
        snprintf(id + 2 * i, 3, "%02x", digest[i]);
    good = good && strcmp(id, identity->certificate_id) == 0;
#if MBEDTLS_VERSION_MAJOR >= 3
    good = good && mbedtls_pk_check_pair(&certificate.pk, key, port_random, NULL) == 0;
#else
    good = good && mbedtls_pk_check_pair(&certificate.pk, key) == 0;
#endif
    mbedtls_x509_crt_free(&certificate);
    return good;
}

static enum outcome certificate_of(struct answer *answer, mbedtls_pk_context *key, struct identity *identity)
{
    struct member members[] = {
        {"certificate", identity->certificate, sizeof identity->certificate, 0},
        {"certificateId", identity->certificate_id, sizeof identity->certificate_id, 0},
        {"endpoint", identity->endpoint, sizeof identity->endpoint, 0},
        {"thingName", identity->thing_name, sizeof identity->thing_name, 0},
        {"renewAfter", identity->renew_after, sizeof identity->renew_after, 0},
    };

    memset(identity, 0, sizeof *identity);
    if (answer_members(answer, members, sizeof members / sizeof *members) != 0 ||
        !is_only(identity->thing_name, LETTERS ":_-") || !is_only(identity->endpoint, LETTERS ".:-") ||
        !is_only(identity->renew_after, "0123456789-:TZ") || !is_own(identity, key)) {
        port_log("the answer is not that of the contract");
        return SOON;
    }
    return GIVEN;
}

/* The table "Everything else" of the contract. */
static enum outcome refusal_of(struct answer *answer)
{
    char code[32] = "";
    struct member members[] = {{"code", code, sizeof code, 0}};

    answer_members(answer, members, 1);
    port_log("status %d %s", answer->status, code);
    switch (answer->status) {
    case 202: return answer->retry_after ? TURN : SOON;
    case 401: case 404: case 413: case 415: return NEVER;
    case 400: case 409: return RARELY;
    case 403: return code[0] == 0 ? SOON : strcmp(code, "malformed-request") == 0 ? NEVER : RARELY;
    default: return SOON;
    }
}

enum outcome provision(mbedtls_pk_context *key, struct identity *identity, uint32_t *retry_after)
{
    const struct settings *settings = port_settings();
    static char csr[LARGEST_CSR * 4 / 3 + 4], request[LARGEST_REQUEST];
    static struct answer answer;
    struct tls tls;
    enum outcome outcome = SOON;
    int length;

    memset(&answer, 0, sizeof answer);
    answer.tls = &tls;
    *retry_after = 0;
    if (signing_request(key, csr, sizeof csr) != 0)
        return NEVER;
    length = snprintf(request, sizeof request,
                      "POST %s/new HTTP/1.1\r\nHost: %s:%s\r\nContent-Length: 0\r\nConnection: close\r\n"
                      "device-csr: %s\r\n\r\n",
                      settings->api_path, settings->api_host, settings->api_port, csr);
    if (length < 0 || length >= LARGEST_REQUEST)
        return NEVER;
    if (tls_open(&tls, settings->api_host, settings->api_port, settings->api_host, settings->api_roots, NULL,
                 NULL) == 0 &&
        tls_write(&tls, request, (size_t)length) == 0 && answer_head(&answer) == 0) {
        outcome = answer.status == 200 ? certificate_of(&answer, key, identity) : refusal_of(&answer);
        *retry_after = answer.retry_after > 86400 ? 86400 : answer.retry_after;
    }
    tls_close(&tls);
    return outcome;
}
