/* TLS by Mbed TLS: 1.2 or newer, the server's chain and name checked, SNI always sent. */
#include "device.h"
#include <string.h>

enum { READ_TIMEOUT_MS = 35000 }; /* the API answers within 29 seconds */

int tls_open(struct tls *tls, const char *host, const char *port, const char *name, const char *roots,
             const char *certificate, mbedtls_pk_context *key)
{
    static const char *mqtt_on_443[] = {"x-amzn-mqtt-ca", NULL};
    int result;

    mbedtls_net_init(&tls->net);
    mbedtls_ssl_init(&tls->ssl);
    mbedtls_ssl_config_init(&tls->config);
    mbedtls_x509_crt_init(&tls->roots);
    mbedtls_x509_crt_init(&tls->own);
    if (mbedtls_x509_crt_parse(&tls->roots, (const unsigned char *)roots, strlen(roots) + 1) != 0 ||
        mbedtls_ssl_config_defaults(&tls->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0)
        return -1;
    mbedtls_ssl_conf_min_version(&tls->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_authmode(&tls->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&tls->config, &tls->roots, NULL);
    mbedtls_ssl_conf_rng(&tls->config, port_random, NULL);
    mbedtls_ssl_conf_read_timeout(&tls->config, READ_TIMEOUT_MS);
    if (certificate != NULL) {
        if (mbedtls_x509_crt_parse(&tls->own, (const unsigned char *)certificate, strlen(certificate) + 1) != 0 ||
            mbedtls_ssl_conf_own_cert(&tls->config, &tls->own, key) != 0)
            return -1;
        if (strcmp(port, "443") == 0 && mbedtls_ssl_conf_alpn_protocols(&tls->config, mqtt_on_443) != 0)
            return -1;
    }
    if (mbedtls_ssl_setup(&tls->ssl, &tls->config) != 0 || mbedtls_ssl_set_hostname(&tls->ssl, name) != 0 ||
        mbedtls_net_connect(&tls->net, host, port, MBEDTLS_NET_PROTO_TCP) != 0)
        return -1;
    mbedtls_ssl_set_bio(&tls->ssl, &tls->net, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
    while ((result = mbedtls_ssl_handshake(&tls->ssl)) != 0)
        if (result != MBEDTLS_ERR_SSL_WANT_READ && result != MBEDTLS_ERR_SSL_WANT_WRITE) {
            port_log("TLS with %s failed: -0x%04x, verification 0x%x", name, (unsigned)-result,
                     (unsigned)mbedtls_ssl_get_verify_result(&tls->ssl));
            return result == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE || result == MBEDTLS_ERR_SSL_CONN_EOF ||
                           result == MBEDTLS_ERR_NET_CONN_RESET
                       ? TLS_REFUSED
                       : -1;
        }
    return 0;
}

int tls_write(struct tls *tls, const void *data, size_t length)
{
    const unsigned char *next = data;
    int written;

    while (length > 0) {
        written = mbedtls_ssl_write(&tls->ssl, next, length);
        if (written == MBEDTLS_ERR_SSL_WANT_READ || written == MBEDTLS_ERR_SSL_WANT_WRITE)
            continue;
        if (written <= 0)
            return -1;
        next += written;
        length -= (size_t)written;
    }
    return 0;
}

int tls_read(struct tls *tls, void *data, size_t length)
{
    int got;

    do
        got = mbedtls_ssl_read(&tls->ssl, data, length);
    while (got == MBEDTLS_ERR_SSL_WANT_READ || got == MBEDTLS_ERR_SSL_WANT_WRITE);
    return got;
}

void tls_close(struct tls *tls)
{
    mbedtls_ssl_close_notify(&tls->ssl);
    mbedtls_net_free(&tls->net);
    mbedtls_ssl_free(&tls->ssl);
    mbedtls_ssl_config_free(&tls->config);
    mbedtls_x509_crt_free(&tls->roots);
    mbedtls_x509_crt_free(&tls->own);
}
