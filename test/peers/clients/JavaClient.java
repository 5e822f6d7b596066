import java.io.FileInputStream;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Visits a server several times with one SSLContext, which keeps the sessions, and prints a line of JSON for each.
 *
 * java JavaClient PORT TLSv1.2|TLSv1.3 CA-FILE VISITS
 */
public class JavaClient {
  public static void main(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    SSLContext context = trusting(args[2]);
    for (int visits = Integer.parseInt(args[3]); visits > 0; visits--) {
      Socket raw = new Socket("127.0.0.1", port);
      raw.setSoTimeout(10_000);
      try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(raw, "a.test", port, true)) {
        socket.setEnabledProtocols(new String[] {args[1]});
        socket.getOutputStream().write("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".getBytes());
        String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String told = answer.substring(answer.indexOf("\r\n\r\n") + 4);
        System.out.printf("{\"protocol\":\"%s\",\"told\":%s}%n", socket.getSession().getProtocol(), told);
      }
    }
  }

  private static SSLContext trusting(String file) throws Exception {
    KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
    authorities.load(null, null);
    try (InputStream pem = new FileInputStream(file)) {
      authorities.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(authorities);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }
}
