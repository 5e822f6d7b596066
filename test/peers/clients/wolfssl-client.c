/*
 * Visits a server several times, each with the session of the visit before, and prints a line of JSON for each; stops
 * at the first that fails.
 *
 * wolfssl-client PORT TLSv1.2|TLSv1.3 CA-FILE VISITS
 */

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  perror("connect");
  exit(2);
}

static void fail(WOLFSSL *ssl, const char *what, int result) {
  char reason[WOLFSSL_MAX_ERROR_SZ];
  int error = wolfSSL_get_error(ssl, result);
  fprintf(stderr, "%s: %s (%d)\n", what, wolfSSL_ERR_error_string(error, reason), error);
  exit(1);
}

static WOLFSSL_SESSION *visit(WOLFSSL_CTX *context, int port, WOLFSSL_SESSION *session) {
  WOLFSSL *ssl = wolfSSL_new(context);
  int fd = connect_to(port);
  wolfSSL_set_fd(ssl, fd);
  wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, "a.test", strlen("a.test"));
  wolfSSL_check_domain_name(ssl, "a.test");
  wolfSSL_UseSessionTicket(ssl);
  if (session != NULL && wolfSSL_set_session(ssl, session) != WOLFSSL_SUCCESS) {
    fprintf(stderr, "the session cannot be used again\n");
    exit(1);
  }
  int result = wolfSSL_connect(ssl);
  if (result != WOLFSSL_SUCCESS) fail(ssl, "connect", result);
  result = wolfSSL_write(ssl, REQUEST, sizeof REQUEST - 1);
  if (result <= 0) fail(ssl, "write", result);

  char answer[4096];
  int length = 0;
  while ((result = wolfSSL_read(ssl, answer + length, sizeof answer - 1 - length)) > 0) length += result;
  answer[length] = 0;
  char *told = strstr(answer, "\r\n\r\n");
  if (told == NULL) fail(ssl, "read", result);
  printf("{\"protocol\":\"%s\",\"reused\":%s,\"told\":%s}\n", wolfSSL_get_version(ssl),
         wolfSSL_session_reused(ssl) ? "true" : "false", told + 4);
  fflush(stdout);

  WOLFSSL_SESSION *next = wolfSSL_get1_session(ssl);
  wolfSSL_SESSION_free(session);
  wolfSSL_shutdown(ssl);
  wolfSSL_free(ssl);
  close(fd);
  return next;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  wolfSSL_Init();
  WOLFSSL_CTX *context =
      wolfSSL_CTX_new(strcmp(argv[2], "TLSv1.2") == 0 ? wolfTLSv1_2_client_method() : wolfTLSv1_3_client_method());
  if (wolfSSL_CTX_load_verify_locations(context, argv[3], NULL) != WOLFSSL_SUCCESS) {
    fprintf(stderr, "no authority in %s\n", argv[3]);
    return 2;
  }
  WOLFSSL_SESSION *session = NULL;
  for (int visits = atoi(argv[4]); visits > 0; visits--) session = visit(context, atoi(argv[1]), session);
  wolfSSL_SESSION_free(session);
  wolfSSL_CTX_free(context);
  return 0;
}
