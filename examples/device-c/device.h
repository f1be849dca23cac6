/* What the parts of the device share. */
#ifndef DEVICE_H
#define DEVICE_H

#include "port.h"
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

/* What an answer brings, as far as the device needs it. All of it is public. */
struct identity {
    char certificate[3072]; /* the leaf alone, PEM: 2,829 bytes at most (RSA-4096) */
    char certificate_id[65];
    char endpoint[256];
    char thing_name[129];
    char renew_after[24];
};

enum outcome { GIVEN, TURN, SOON, RARELY, NEVER };

/* tls.c: a connection whose server certificate is checked against `name`. 0 on success, TLS_REFUSED if the
   server ended the handshake. Close it in any case. */
enum { TLS_REFUSED = 1 };
struct tls {
    mbedtls_net_context net;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt roots, own;
};
int tls_open(struct tls *tls, const char *host, const char *port, const char *name, const char *roots,
             const char *certificate, mbedtls_pk_context *key);
int tls_write(struct tls *tls, const void *data, size_t length);
int tls_read(struct tls *tls, void *data, size_t length); /* bytes read, 0 or less at the end */
void tls_close(struct tls *tls);

/* provision.c: one request. On GIVEN the identity is checked and complete. `retry_after` is in seconds, 0 for none. */
enum outcome provision(mbedtls_pk_context *key, struct identity *identity, uint32_t *retry_after);

/* answer.c: reads an answer byte by byte, so that its length costs no memory. */
struct answer {
    struct tls *tls;
    unsigned char buffer[256];
    int at, have;
    uint32_t left; /* bytes that may still come */
    int status;
    uint32_t retry_after; /* seconds, 0 for none */
};
struct member {
    const char *name;
    char *value;
    size_t size;
    int seen;
};
int answer_head(struct answer *answer);
int answer_members(struct answer *answer, struct member *members, size_t count);

/* mqtt.c: connects, publishes with QoS 1 and disconnects. */
enum publishing { PUBLISHED, UNREACHABLE, REFUSED };
enum publishing mqtt_publish(mbedtls_pk_context *key, const struct identity *identity, const char *leaf,
                             const char *payload);

#endif
