import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;

/** Prints the keys that Spark would sign with. */
public class ShowKeys {
  public static void main(String[] arguments) {
    AwsCredentials keys = new asgard.FreshKeys().resolveCredentials();
    String token = keys instanceof AwsSessionCredentials ? ((AwsSessionCredentials) keys).sessionToken() : "";
    System.out.println(keys.accessKeyId() + " " + token);
  }
}
