package asgard;

import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;

/**
 * The keys that the environment leads to: static ones, session tokens, profiles, web identity, container and instance
 * roles. They are fetched again before they run out, and at once when the store refuses them.
 *
 * The SDK never asks for others when a token was revoked, and S3A takes a refusal for final. So it is told of a store
 * that has no time, if there are other keys than those that were refused: then it sends the request again.
 */
public final class FreshKeys implements AwsCredentialsProvider, ExecutionInterceptor {
  private static final int TRY_AGAIN = 503;
  private static AwsCredentialsProvider source = fetched();

  private static AwsCredentialsProvider fetched() {
    return DefaultCredentialsProvider.builder().build();
  }

  @Override
  public AwsCredentials resolveCredentials() {
    return now().resolveCredentials();
  }

  @Override
  public Throwable modifyException(Context.FailedExecution context, ExecutionAttributes attributes) {
    if (!(context.exception() instanceof AwsServiceException)) {
      return context.exception();
    }
    AwsServiceException refusal = (AwsServiceException) context.exception();
    String used = context.httpRequest().flatMap(r -> r.firstMatchingHeader("X-Amz-Security-Token")).orElse("");
    if (used.isEmpty() || !isAboutKeys(refusal) || !othersThan(used)) {
      return refusal;
    }
    return refusal.toBuilder().statusCode(TRY_AGAIN).build();
  }

  private static boolean isAboutKeys(AwsServiceException refusal) {
    String code = refusal.awsErrorDetails() == null ? null : refusal.awsErrorDetails().errorCode();
    // The answer to a HEAD has no body that could name the reason.
    boolean token = code == null || code.isEmpty() || code.equals("400") || code.contains("Token");
    return refusal.statusCode() == 403 || (refusal.statusCode() == 400 && token);
  }

  private static boolean othersThan(String token) {
    try {
      if (!token(now()).equals(token)) {
        return true;
      }
      renew(token);
      return !token(now()).equals(token);
    } catch (SdkException none) {
      return false;
    }
  }

  private static String token(AwsCredentialsProvider from) {
    AwsCredentials keys = from.resolveCredentials();
    return keys instanceof AwsSessionCredentials ? ((AwsSessionCredentials) keys).sessionToken() : "";
  }

  private static synchronized AwsCredentialsProvider now() {
    return source;
  }

  /** Unless another thread has done so since the request was signed. */
  private static synchronized void renew(String refused) {
    if (token(source).equals(refused)) {
      source = fetched();
    }
  }
}
